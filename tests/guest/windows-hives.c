/* SPDX-License-Identifier: Apache-2.0 */
/* The registry's part of a Windows conversion without an appliance.
 *
 *   windows-hives facts DIRECTORY              hives SYSTEM and SOFTWARE in it: what they tell
 *   windows-hives edit DIRECTORY INPUT.json    edit them (windows_registry.h)
 *   windows-hives damage DIRECTORY COUNT SEED  edit COUNT damaged copies of them
 *
 * Standard output: JSON.  "damage" tells how many copies were edited, refused, or ended their
 * process. */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/hive_box.h"
#include "guest/hive_file.h"
#include "guest/windows_facts.h"
#include "guest/windows_registry.h"

static int print(struct json_object *value, const struct bf_error *err)
{
    bf_auto_json *result = value ? value : json_object_new_object();

    if (!value)
        json_object_object_add(result, "error", bf_json_error(err));
    puts(bf_json_text(result));
    return value ? 0 : 1;
}

static int facts(const char *directory)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct json_object *output = NULL;

    bf_hive_box_run(directory, bf_windows_read_hives, NULL, &output, &err);
    return print(output, &err);
}

static int edit(const char *directory, const char *input_file)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *input = NULL;
    struct json_object *output = NULL;

    if (bf_json_read_file(input_file, &input, &err) == 0)
        bf_hive_box_run(directory, bf_windows_edit_hives, input, &output, &err);
    return print(output, &err);
}

static int both(struct json_object *input, struct json_object *output, struct bf_error *err)
{
    bf_auto_json *read = json_object_new_object();

    if (bf_windows_read_hives(NULL, read, err) < 0)
        return -1;
    json_object_object_add(input, "facts", json_object_get(read));
    return bf_windows_edit_hives(input, output, err);
}

/* A few bytes behind the header become others: a link, a length, a count, mostly. */
static int write_damaged(const char *directory, const char *name, const char *data, size_t size,
                         struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("%s/%s", directory, name);
    bf_auto_free char *copy = malloc(size);
    int count = 1 + rand() % 8;

    if (!copy)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "%zu bytes", size);
    memcpy(copy, data, size);
    for (int i = 0; i < count; i++) {
        size_t at = BF_HIVE_PAGE + (size_t)rand() % (size - BF_HIVE_PAGE);

        copy[at] = (char)(rand() % 3 ? rand() : 0xff);
    }
    return bf_file_replace(path, copy, size, 0600, err);
}

static int damage(const char *directory, int count, unsigned seed)
{
    static const char *const names[] = {"SYSTEM", "SOFTWARE"};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *result = json_object_new_object();
    char *data[2] = {NULL, NULL};
    size_t size[2] = {0, 0};
    int edited = 0, refused = 0, ended = 0;

    for (size_t i = 0; i < 2; i++) {
        bf_auto_free char *path = bf_xasprintf("%s/%s", directory, names[i]);

        if (bf_file_read(path, BF_HIVE_MAX, &data[i], &size[i], &err) < 0)
            return print(NULL, &err);
    }
    srand(seed);
    for (int round = 0; round < count; round++) {
        bf_auto_json *input = json_tokener_parse(
            "{\"boot_drivers\": [\"viostor\", \"vioscsi\"], \"device_path\": true, "
            "\"first_boot\": true}");
        bf_auto_json *output = NULL;

        bf_error_clear(&err);
        for (size_t i = 0; i < 2; i++)
            if (write_damaged(directory, names[i], data[i], size[i], &err) < 0)
                return print(NULL, &err);
        if (bf_hive_box_run(directory, both, input, &output, &err) == 0)
            edited++;
        else if (err.code != BF_E_GUEST_REGISTRY)
            return print(NULL, &err);
        else if (strstr(err.message, "ended with") || strstr(err.message, "could not be read in"))
            ended++;
        else
            refused++;
    }
    free(data[0]);
    free(data[1]);
    bf_json_add_i64(result, "edited", edited);
    bf_json_add_i64(result, "refused", refused);
    bf_json_add_i64(result, "ended", ended);
    puts(bf_json_text(result));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && bf_streq(argv[1], "facts"))
        return facts(argv[2]);
    if (argc == 4 && bf_streq(argv[1], "edit"))
        return edit(argv[2], argv[3]);
    if (argc == 5 && bf_streq(argv[1], "damage"))
        return damage(argv[2], atoi(argv[3]), (unsigned)atoi(argv[4]));
    return 2;
}
