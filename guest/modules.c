/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/modules.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define LIST_MAX 100
#define PATH_MAX_LENGTH 256

/* Does the path (`length` bytes) name this module?  "-" and "_" are the same to the kernel. */
static bool names_module(const char *path, size_t length, const char *module)
{
    size_t name_length = strlen(module);
    const char *slash = memrchr(path, '/', length);
    const char *name = slash ? slash + 1 : path;
    size_t left = length - (size_t)(name - path);

    if (left < name_length + 3)
        return false;
    for (size_t i = 0; i < name_length; i++)
        if ((name[i] == '-' ? '_' : name[i]) != module[i])
            return false;
    return memcmp(name + name_length, ".ko", 3) == 0;
}

static const char *next_line(const char *line)
{
    line += strcspn(line, "\n");
    return *line ? line + 1 : line;
}

bool bf_module_is_builtin(const char *builtin, const char *module)
{
    for (const char *line = builtin; *line; line = next_line(line))
        if (names_module(line, strcspn(line, "\n"), module))
            return true;
    return false;
}

static bool add_path(struct bf_module_list *list, const char *path, size_t length)
{
    for (size_t i = 0; i < list->count; i++)
        if (strlen(list->paths[i]) == length && memcmp(list->paths[i], path, length) == 0)
            return true;
    if (list->count >= LIST_MAX || length == 0 || length > PATH_MAX_LENGTH)
        return false;
    bf_xgrow(&list->paths, &list->capacity, list->count + 1, sizeof(*list->paths));
    list->paths[list->count++] = bf_xasprintf("%.*s", (int)length, path);
    return true;
}

/* "a/x.ko: b/y.ko c/z.ko": what stands rightmost is to be loaded first. */
static bool add_line(struct bf_module_list *list, const char *line, size_t name_length)
{
    const char *begin = line + name_length + 1;
    const char *end = line + strcspn(line, "\n");

    while (end > begin) {
        const char *word;

        while (end > begin && end[-1] == ' ')
            end--;
        word = end;
        while (word > begin && word[-1] != ' ')
            word--;
        if (end > word && !add_path(list, word, (size_t)(end - word)))
            return false;
        end = word;
    }
    return add_path(list, line, name_length);
}

bool bf_module_list_add(struct bf_module_list *list, const char *dependencies, const char *module)
{
    for (const char *line = dependencies; *line; line = next_line(line)) {
        size_t length = strcspn(line, ":\n");

        if (line[length] == ':' && names_module(line, length, module))
            return add_line(list, line, length);
    }
    return false;
}

void bf_module_list_done(struct bf_module_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->paths[i]);
    free(list->paths);
    *list = (struct bf_module_list){0};
}

char *bf_module_file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *ending = strstr(name, ".ko");

    return bf_xasprintf("%.*s", ending ? (int)(ending - name) + 3 : (int)strlen(name), name);
}
