/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/tree.h"

#include <archive.h>
#include <archive_entry.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"

#define LINKS_MAX 16
#define FILES_MAX 200000
#define BLOCK 65536

static void free_archive_at(struct archive **at)
{
    archive_read_free(*at);
}

static void file_done(struct bf_tree_file *file)
{
    free(file->path);
    free(file->target);
    free(file->data);
}

static void forget_from(struct bf_tree *tree, size_t count, size_t bytes)
{
    while (tree->count > count)
        file_done(&tree->files[--tree->count]);
    tree->bytes = bytes;
}

void bf_tree_done(struct bf_tree *tree)
{
    forget_from(tree, 0, 0);
    free(tree->files);
    for (size_t i = 0; i < tree->directory_count; i++) {
        free(tree->directories[i].path);
        for (size_t j = 0; tree->directories[i].patterns[j]; j++)
            free(tree->directories[i].patterns[j]);
        free(tree->directories[i].patterns);
    }
    free(tree->directories);
    *tree = (struct bf_tree){0};
}

/* --- reading --- */

static int read_data(struct bf_tree *tree, struct archive *archive, struct archive_entry *entry,
                     struct bf_tree_file *file, struct bf_error *err)
{
    int64_t size = archive_entry_size(entry);
    la_ssize_t got;

    if (size < 0 || (uint64_t)size > BF_TREE_BYTES_MAX - tree->bytes)
        return bf_fail(err, BF_E_TOO_LARGE, 0, "the guest's %s is too large", file->path);
    file->data = calloc(1, (size_t)size + 1);
    if (!file->data)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "%s", file->path);
    while (file->size < (size_t)size) {
        got = archive_read_data(archive, file->data + file->size, (size_t)size - file->size);
        if (got <= 0)
            return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "the archive with %s is cut",
                           file->path);
        file->size += (size_t)got;
    }
    tree->bytes += file->size;
    return 0;
}

static char *absolute(const char *directory, const char *name)
{
    bf_auto_free char *path = NULL;
    size_t length;

    while (bf_starts_with(name, "./") || *name == '/')
        name += *name == '/' ? 1 : 2;
    path = bf_xasprintf("%s/%s", directory, bf_streq(name, ".") ? "" : name);
    for (length = strlen(path); length > 1 && path[length - 1] == '/'; length--)
        path[length - 1] = '\0';
    return bf_steal(path);
}

static int add_entry(struct bf_tree *tree, struct archive *archive, struct archive_entry *entry,
                     const char *directory, struct bf_error *err)
{
    const char *name = archive_entry_pathname(entry);
    struct bf_tree_file *file;

    if (!name || tree->count >= FILES_MAX)
        return bf_fail(err, BF_E_TOO_LARGE, 0, "there are too many files in %s", directory);
    bf_xgrow(&tree->files, &tree->capacity, tree->count + 1, sizeof(*tree->files));
    file = &tree->files[tree->count++];
    *file = (struct bf_tree_file){.path = absolute(directory, name),
                                  .mode = (uint32_t)archive_entry_mode(entry)};
    /* A second name of a file that came before in this archive. */
    if (archive_entry_hardlink(entry)) {
        file->mode = S_IFLNK | 0777;
        file->target = absolute(directory, archive_entry_hardlink(entry));
        return 0;
    }
    if (S_ISLNK(file->mode))
        file->target = bf_xstrdup(archive_entry_symlink(entry));
    return S_ISREG(file->mode) ? read_data(tree, archive, entry, file, err) : 0;
}

static int read_archive(struct bf_tree *tree, struct archive *archive, const char *directory,
                        struct bf_error *err)
{
    struct archive_entry *entry;

    for (;;) {
        int result = archive_read_next_header(archive, &entry);

        if (result == ARCHIVE_EOF)
            return 0;
        if (result < ARCHIVE_WARN)
            return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "the archive of %s: %s", directory,
                           archive_error_string(archive));
        if (add_entry(tree, archive, entry, directory, err) < 0)
            return -1;
    }
}

static void add_directory(struct bf_tree *tree, const char *path, const char *const *patterns)
{
    struct bf_tree_directory *directory;
    size_t count = 0;

    bf_xgrow(&tree->directories, &tree->directory_capacity, tree->directory_count + 1,
             sizeof(*tree->directories));
    directory = &tree->directories[tree->directory_count++];
    while (patterns && patterns[count])
        count++;
    directory->path = bf_xstrdup(path);
    directory->patterns = bf_xcalloc(count + 1, sizeof(*directory->patterns));
    for (size_t i = 0; i < count; i++)
        directory->patterns[i] = bf_xstrdup(patterns[i]);
}

int bf_tree_add_archive(struct bf_tree *tree, int fd, const char *directory,
                        const char *const *patterns, struct bf_error *err)
{
    bf_cleanup(free_archive_at) struct archive *archive = archive_read_new();
    size_t count = tree->count, bytes = tree->bytes;

    if (!archive || archive_read_support_format_tar(archive) != ARCHIVE_OK ||
        archive_read_open_fd(archive, fd, BLOCK) != ARCHIVE_OK)
        return bf_fail(err, BF_E_CONVERT_FAILED, 0, "the archive of %s: %s", directory,
                       archive ? archive_error_string(archive) : "no memory");
    if (read_archive(tree, archive, directory, err) < 0) {
        forget_from(tree, count, bytes);
        return -1;
    }
    add_directory(tree, directory, patterns);
    return 0;
}

/* --- asking --- */

/* As tar excludes: a pattern matches from any slash on, and what is below a match goes with it. */
static bool is_left_out(const char *path, const char *pattern)
{
    if (fnmatch(pattern, path, FNM_LEADING_DIR) == 0)
        return true;
    for (; *path; path++)
        if (*path == '/' && fnmatch(pattern, path + 1, FNM_LEADING_DIR) == 0)
            return true;
    return false;
}

static bool directory_covers(const struct bf_tree_directory *directory, const char *path)
{
    size_t length = strlen(directory->path);
    bf_auto_free char *member = NULL;

    if (strncmp(path, directory->path, length) != 0 || (path[length] != '/' && path[length]))
        return false;
    member = bf_xasprintf(".%s", path + length);
    for (size_t i = 0; directory->patterns[i]; i++)
        if (is_left_out(member, directory->patterns[i]))
            return false;
    return true;
}

bool bf_tree_covers(const struct bf_tree *tree, const char *path)
{
    for (size_t i = 0; i < tree->directory_count; i++)
        if (directory_covers(&tree->directories[i], path))
            return true;
    return false;
}

static const struct bf_tree_file *entry_of(const struct bf_tree *tree, const char *path,
                                           size_t length)
{
    for (size_t i = 0; i < tree->count; i++)
        if (strncmp(tree->files[i].path, path, length) == 0 && !tree->files[i].path[length])
            return &tree->files[i];
    return NULL;
}

/* "/a/b" and "../c" -> "/a/../c" without dots: "/c". */
static char *resolve_link(const char *path, size_t length, const char *target, const char *rest)
{
    bf_auto_buf out = {0};
    bf_auto_free char *whole = NULL;
    size_t parent = length;

    while (parent > 0 && path[parent - 1] != '/')
        parent--;
    whole = *target == '/' ? bf_xasprintf("%s%s", target, rest)
                           : bf_xasprintf("%.*s%s%s", (int)parent, path, target, rest);
    for (const char *at = whole; *at;) {
        size_t step;

        at += strspn(at, "/");
        step = strcspn(at, "/");
        if (step == 2 && strncmp(at, "..", 2) == 0) {
            while (out.length > 0 && out.text[--out.length] != '/')
                ;
            if (out.text)
                out.text[out.length] = '\0';
        } else if (step > 0 && !(step == 1 && *at == '.')) {
            bf_buf_addf(&out, "/%.*s", (int)step, at);
        }
        at += step;
    }
    return out.length > 0 ? bf_xstrdup(out.text) : bf_xstrdup("/");
}

/* The first symlink on the way is replaced by what it points to; NULL: there is none. */
static char *follow_one(const struct bf_tree *tree, const char *path)
{
    for (size_t length = 1; path[length - 1]; length++) {
        const struct bf_tree_file *file;

        if (path[length] != '/' && path[length] != '\0')
            continue;
        file = entry_of(tree, path, length);
        if (file && file->target)
            return resolve_link(path, length, file->target, path + length);
    }
    return NULL;
}

const struct bf_tree_file *bf_tree_find(const struct bf_tree *tree, const char *path,
                                        bool *ret_outside)
{
    bf_auto_free char *now = bf_xstrdup(path);

    *ret_outside = false;
    for (unsigned links = 0; links < LINKS_MAX; links++) {
        bf_auto_free char *next = NULL;

        if (!bf_tree_covers(tree, now)) {
            *ret_outside = true;
            return NULL;
        }
        next = follow_one(tree, now);
        if (!next)
            return entry_of(tree, now, strlen(now));
        free(now);
        now = bf_steal(next);
    }
    return NULL;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **bf_tree_glob(const struct bf_tree *tree, const char *pattern)
{
    char **paths = NULL;
    size_t count = 0, capacity = 0;

    bf_xgrow(&paths, &capacity, 1, sizeof(*paths));
    for (size_t i = 0; i < tree->count; i++) {
        if (fnmatch(pattern, tree->files[i].path, FNM_PATHNAME | FNM_PERIOD) != 0)
            continue;
        bf_xgrow(&paths, &capacity, count + 2, sizeof(*paths));
        paths[count++] = bf_xstrdup(tree->files[i].path);
    }
    qsort(paths, count, sizeof(*paths), compare_text);
    return paths;
}
