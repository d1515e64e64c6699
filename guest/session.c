/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/session.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

/* A guest could bring about any number; nobody reads more. */
#define WARNINGS_MAX 256

int bf_session_fail(struct bf_session *session, const char *what, struct bf_error *err)
{
    const char *said = guestfs_last_error(session->g);

    return bf_fail(err, BF_E_CONVERT_FAILED, 0, "%s: %s", what, said ? said : "no reason given");
}

void bf_strings_free(char **strings)
{
    for (size_t i = 0; strings && strings[i]; i++)
        free(strings[i]);
    free(strings);
}

bool bf_strings_have(char *const *strings, const char *text)
{
    for (; *strings; strings++)
        if (bf_streq(*strings, text))
            return true;
    return false;
}

int bf_session_launch(struct bf_session *session, struct bf_error *err)
{
    return guestfs_launch(session->g) < 0 ? bf_session_fail(session, "the appliance", err) : 0;
}

static struct bf_change *new_change(struct bf_session *session, const char *path, const void *data,
                                    size_t size, const char *summary)
{
    struct bf_change *change;

    bf_xgrow(&session->changes, &session->change_capacity, session->change_count + 1,
             sizeof(*session->changes));
    change = &session->changes[session->change_count++];
    change->path = bf_xstrdup(path);
    change->data = bf_xcalloc(1, size + 1);
    memcpy(change->data, data, size);
    change->size = size;
    change->summary = bf_xstrdup(summary);
    return change;
}

static struct bf_change *written(const struct bf_session *session, const char *path)
{
    for (size_t i = 0; i < session->change_count; i++) {
        struct bf_change *change = &session->changes[i];

        if ((change->kind == BF_CHANGE_WRITE || change->kind == BF_CHANGE_CREATE) &&
            bf_streq(change->path, path))
            return change;
    }
    return NULL;
}

const struct bf_change *bf_session_change_of(const struct bf_session *session, const char *path)
{
    return written(session, path);
}

/* The second edit of a file. */
static void write_again(struct bf_change *change, const char *text, const char *summary)
{
    char *joined = strstr(change->summary, summary)
                       ? bf_xstrdup(change->summary)
                       : bf_xasprintf("%s, %s", change->summary, summary);

    free(change->summary);
    change->summary = joined;
    free(change->data);
    change->data = bf_xstrdup(text);
    change->size = strlen(text);
}

void bf_session_write(struct bf_session *session, const char *path, const char *text, bool fresh,
                      const char *summary)
{
    struct bf_change *before = written(session, path);

    if (before) {
        write_again(before, text, summary);
        return;
    }
    new_change(session, path, text, strlen(text), summary)->kind =
        fresh ? BF_CHANGE_CREATE : BF_CHANGE_WRITE;
}

void bf_session_append(struct bf_session *session, const char *path, uint64_t offset,
                       const void *data, size_t size, const char *summary)
{
    struct bf_change *change = new_change(session, path, data, size, summary);

    change->kind = BF_CHANGE_APPEND;
    change->offset = offset;
}

void bf_session_remove(struct bf_session *session, const char *path, const char *summary)
{
    new_change(session, path, "", 0, summary)->kind = BF_CHANGE_REMOVE;
}

void bf_session_did(struct bf_session *session, const char *path, const char *summary)
{
    new_change(session, path, "", 0, summary)->kind = BF_CHANGE_DONE;
}

void bf_session_checksum(struct bf_session *session, const char *path, const char *of,
                         const char *summary)
{
    new_change(session, path, of, strlen(of), summary)->kind = BF_CHANGE_CHECKSUM;
}

void bf_session_warn(struct bf_session *session, const char *format, ...)
{
    bf_auto_free char *text = NULL;
    va_list args;
    size_t count;

    va_start(args, format);
    text = bf_xvasprintf(format, args);
    va_end(args);
    if (!session->warnings)
        session->warnings = json_object_new_array();
    count = json_object_array_length(session->warnings);
    for (size_t i = 0; i < count; i++)
        if (bf_streq(json_object_get_string(json_object_array_get_idx(session->warnings, i)), text))
            return;
    if (count >= WARNINGS_MAX)
        return;
    json_object_array_add(session->warnings, json_object_new_string(text));
}

static int append(struct bf_session *session, const struct bf_change *change, struct bf_error *err)
{
    bf_auto_free char *local = bf_xasprintf("%s/append", session->tmp_directory);
    int64_t size;

    if (bf_file_replace(local, change->data, change->size, 0600, err) < 0)
        return -1;
    if (guestfs_upload_offset(session->g, local, change->path, (int64_t)change->offset) < 0)
        return bf_session_fail(session, change->path, err);
    size = guestfs_filesize(session->g, change->path);
    if (size < 0 || (uint64_t)size != change->offset + change->size)
        return bf_fail(err, BF_E_CONVERT_FAILED, 0, "%s has %lld bytes after the change, not %llu",
                       change->path, (long long)size,
                       (unsigned long long)(change->offset + change->size));
    return 0;
}

/* A new file or directory gets the label of the directory it is in; a written one keeps its own. */
static void label(struct bf_session *session, const char *path)
{
    bf_auto_free char *directory = bf_xasprintf("%.*s", (int)(strrchr(path, '/') - path), path);
    size_t size = 0;
    bf_auto_free char *value = guestfs_lgetxattr(session->g, directory, "security.selinux", &size);

    if (value && guestfs_lsetxattr(session->g, "security.selinux", value, (int)size, path) < 0)
        bf_session_warn(session, "%s has no SELinux label", path);
}

static int make_parent(struct bf_session *session, const char *path, struct bf_error *err)
{
    bf_auto_free char *directory = bf_xasprintf("%.*s", (int)(strrchr(path, '/') - path), path);

    if (bf_session_exists(session, directory))
        return 0;
    if (make_parent(session, directory, err) < 0)
        return -1;
    if (guestfs_mkdir_p(session->g, directory) < 0)
        return bf_session_fail(session, directory, err);
    if (session->selinux)
        label(session, directory);
    return 0;
}

static int write_checksum(struct bf_session *session, const struct bf_change *change,
                          struct bf_error *err)
{
    bf_auto_free char *sum = guestfs_checksum(session->g, "sha1", change->data);
    bf_auto_free char *line = sum ? bf_xasprintf("%s  %s\n", sum, change->data) : NULL;

    if (!line || guestfs_write(session->g, change->path, line, strlen(line)) < 0)
        return bf_session_fail(session, change->path, err);
    return 0;
}

static int apply(struct bf_session *session, const struct bf_change *change, struct bf_error *err)
{
    switch (change->kind) {
    case BF_CHANGE_DONE:
        return 0;
    case BF_CHANGE_APPEND:
        return append(session, change, err);
    case BF_CHANGE_CHECKSUM:
        return write_checksum(session, change, err);
    case BF_CHANGE_REMOVE:
        if (guestfs_rm_f(session->g, change->path) < 0)
            return bf_session_fail(session, change->path, err);
        return 0;
    case BF_CHANGE_CREATE:
        if (make_parent(session, change->path, err) < 0)
            return -1;
        break;
    case BF_CHANGE_WRITE:
    default:
        break;
    }
    if (guestfs_write(session->g, change->path, change->data, change->size) < 0)
        return bf_session_fail(session, change->path, err);
    if (change->kind == BF_CHANGE_CREATE && session->selinux)
        label(session, change->path);
    return 0;
}

int bf_session_apply(struct bf_session *session, struct bf_error *err)
{
    for (size_t i = 0; i < session->change_count; i++)
        if (apply(session, &session->changes[i], err) < 0)
            return -1;
    return 0;
}

int bf_session_close(struct bf_session *session, struct bf_error *err)
{
    if (guestfs_umount_all(session->g) < 0)
        return bf_session_fail(session, "unmount", err);
    if (guestfs_shutdown(session->g) < 0)
        return bf_session_fail(session, "the appliance's end", err);
    return 0;
}

void bf_session_done(struct bf_session *session)
{
    for (size_t i = 0; i < session->change_count; i++) {
        free(session->changes[i].path);
        free(session->changes[i].data);
        free(session->changes[i].summary);
    }
    free(session->changes);
    bf_strings_free(session->devices);
    for (size_t i = 0; i < session->filesystem_count; i++) {
        free(session->filesystems[i].device);
        free(session->filesystems[i].type);
        free(session->filesystems[i].uuid);
        free(session->filesystems[i].label);
        free(session->filesystems[i].part_uuid);
    }
    free(session->filesystems);
    bf_tree_done(&session->tree);
    free(session->root);
    free(session->product);
    json_object_put(session->warnings);
    json_object_put(session->kernels);
    if (session->g)
        guestfs_close(session->g);
    *session = (struct bf_session){0};
}
