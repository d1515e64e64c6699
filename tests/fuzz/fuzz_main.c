/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the files of the given directories through one fuzz target; TAP. */
#include <dirent.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/tap.h"

static void run_file(const char *path)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *text = NULL;
    size_t length;

    if (!ok(bf_file_read(path, 1 << 20, &text, &length, &err) == 0, "read %s", path))
        return;
    /* A copy of just this size, so that a sanitizer sees the first byte beyond it. */
    uint8_t *data = malloc(length ? length : 1);
    if (!data)
        abort();
    memcpy(data, text, length);
    LLVMFuzzerTestOneInput(data, length);
    free(data);
    ok(true, "%s", path);
}

int main(int argc, char *argv[])
{
    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        if (!ok(directory != NULL, "open %s", argv[i]))
            continue;
        for (struct dirent *entry; (entry = readdir(directory));) {
            if (entry->d_name[0] == '.')
                continue;
            bf_auto_free char *path = bf_xasprintf("%s/%s", argv[i], entry->d_name);
            run_file(path);
        }
        closedir(directory);
    }
    return done();
}
