/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/session.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

#define TEXT_MAX ((size_t)4 << 20)

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

static void free_strings_at(char ***at)
{
    bf_strings_free(*at);
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

/* No root was found: is it because of encryption? */
int bf_session_explain_no_root(struct bf_session *session, struct bf_error *err)
{
    bf_cleanup(free_strings_at) char **devices = guestfs_list_devices(session->g);
    bf_cleanup(free_strings_at) char **parts = guestfs_list_partitions(session->g);
    char **lists[2] = {devices, parts};

    for (size_t i = 0; i < bf_array_length(lists); i++)
        for (size_t j = 0; lists[i] && lists[i][j]; j++) {
            bf_auto_free char *type = guestfs_vfs_type(session->g, lists[i][j]);

            if (type && (bf_streq(type, "crypto_LUKS") || bf_streq(type, "BitLocker")))
                return bf_fail(err, BF_E_GUEST_ENCRYPTED, 0, "%s is encrypted (%s)", lists[i][j],
                               type);
        }
    return bf_fail(err, BF_E_GUEST_UNKNOWN, 0, "no operating system was found on the disks");
}

/* What the system calls itself; libguestfs shows "12.15" for a Debian. */
void bf_session_read_product(struct bf_session *session)
{
    static const char key[] = "PRETTY_NAME=\"";
    bf_auto_free char *text = bf_session_read(session, "/etc/os-release", NULL);
    const char *name = text ? strstr(text, key) : NULL;

    if (!name)
        return;
    name += sizeof(key) - 1;
    free(session->product);
    session->product = bf_xasprintf("%.*s", (int)strcspn(name, "\"\n"), name);
}

static int check_guest(struct bf_session *session, struct bf_error *err)
{
    bf_auto_free char *type = guestfs_inspect_get_type(session->g, session->root);
    bf_auto_free char *arch = guestfs_inspect_get_arch(session->g, session->root);

    session->product = guestfs_inspect_get_product_name(session->g, session->root);
    if (!type || !arch || !session->product)
        return bf_session_fail(session, "inspection", err);
    if (!bf_streq(type, "linux") || !bf_streq(arch, "x86_64"))
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "%s is %s for %s", session->product, type,
                       arch);
    return 0;
}

/* Pairs of mount point and device, the shorter mount points first. */
static void sort_mounts(char **pairs)
{
    for (size_t i = 2; pairs[i - 2] && pairs[i]; i += 2)
        for (size_t j = i; j > 0 && strlen(pairs[j]) < strlen(pairs[j - 2]); j -= 2)
            for (size_t k = 0; k < 2; k++) {
                char *moved = pairs[j + k];

                pairs[j + k] = pairs[j - 2 + k];
                pairs[j - 2 + k] = moved;
            }
}

/* ext4 would begin to initialise its inode tables in the background: megabytes of writes. */
int bf_session_mount_one(struct bf_session *session, const char *device, const char *mountpoint)
{
    if (session->read_only)
        return guestfs_mount_ro(session->g, device, mountpoint);

    bf_auto_free char *type = guestfs_vfs_type(session->g, device);
    const char *options = type && bf_starts_with(type, "ext") ? "noatime,noinit_itable" : "noatime";

    return guestfs_mount_options(session->g, options, device, mountpoint);
}

int bf_session_mount(struct bf_session *session, struct bf_error *err)
{
    bf_cleanup(free_strings_at) char **pairs =
        guestfs_inspect_get_mountpoints(session->g, session->root);

    if (!pairs)
        return bf_session_fail(session, "mount points", err);
    sort_mounts(pairs);
    for (size_t i = 0; pairs[i]; i += 2) {
        if (bf_session_mount_one(session, pairs[i + 1], pairs[i]) == 0)
            continue;
        if (bf_streq(pairs[i], "/") || bf_starts_with(pairs[i], "/boot") ||
            bf_starts_with(pairs[i], "/usr"))
            return bf_session_fail(session, pairs[i], err);
        bf_session_warn(session, "%s cannot be mounted and was left alone: %s", pairs[i],
                        guestfs_last_error(session->g));
    }
    return 0;
}

int bf_session_open_guest(struct bf_session *session, struct bf_error *err)
{
    bf_cleanup(free_strings_at) char **roots = guestfs_inspect_os(session->g);

    if (!roots)
        return bf_session_fail(session, "inspection", err);
    if (!roots[0])
        return bf_session_explain_no_root(session, err);
    if (roots[1])
        return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0,
                       "there is more than one operating system on the disks");
    session->root = bf_xstrdup(roots[0]);
    if (check_guest(session, err) < 0 || bf_session_mount(session, err) < 0)
        return -1;
    bf_session_read_product(session);
    session->selinux = guestfs_is_file(session->g, "/etc/selinux/config") == 1;
    return 0;
}

char *bf_session_read(struct bf_session *session, const char *path, size_t *ret_size)
{
    size_t size = 0;
    bf_auto_free char *data = guestfs_read_file(session->g, path, &size);
    char *text;

    if (!data || size > TEXT_MAX)
        return NULL;
    /* Not every version ends it by a NUL. */
    text = bf_xcalloc(1, size + 1);
    memcpy(text, data, size);
    if (ret_size)
        *ret_size = size;
    return text;
}

char **bf_session_list(struct bf_session *session, const char *path)
{
    char **names = guestfs_ls(session->g, path);

    return names ? names : bf_xcalloc(1, sizeof(*names));
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

void bf_session_write(struct bf_session *session, const char *path, const char *text, bool fresh,
                      const char *summary)
{
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

void bf_session_checksum(struct bf_session *session, const char *path, const char *of,
                         const char *summary)
{
    new_change(session, path, of, strlen(of), summary)->kind = BF_CHANGE_CHECKSUM;
}

void bf_session_warn(struct bf_session *session, const char *format, ...)
{
    bf_auto_free char *text = NULL;
    va_list args;

    va_start(args, format);
    text = bf_xvasprintf(format, args);
    va_end(args);
    if (!session->warnings)
        session->warnings = json_object_new_array();
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

/* A new file gets the label of its directory; a written one keeps its own. */
static void label(struct bf_session *session, const char *path)
{
    bf_auto_free char *directory = bf_xasprintf("%.*s", (int)(strrchr(path, '/') - path), path);
    size_t size = 0;
    bf_auto_free char *value = guestfs_lgetxattr(session->g, directory, "security.selinux", &size);

    if (value && guestfs_lsetxattr(session->g, "security.selinux", value, (int)size, path) < 0)
        bf_session_warn(session, "%s has no SELinux label", path);
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
    case BF_CHANGE_APPEND:
        return append(session, change, err);
    case BF_CHANGE_CHECKSUM:
        return write_checksum(session, change, err);
    case BF_CHANGE_REMOVE:
        if (guestfs_rm_f(session->g, change->path) < 0)
            return bf_session_fail(session, change->path, err);
        return 0;
    case BF_CHANGE_WRITE:
    case BF_CHANGE_CREATE:
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
    free(session->root);
    free(session->product);
    json_object_put(session->warnings);
    json_object_put(session->kernels);
    if (session->g)
        guestfs_close(session->g);
    *session = (struct bf_session){0};
}
