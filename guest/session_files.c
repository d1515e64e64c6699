/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the guest's files.  A path of a bundle below is answered from the bundle, which is
 * fetched whole at the first such question; every other path is a call of its own.  A change that
 * was collected is seen by who reads the file afterwards. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "guest/session.h"

#define TEXT_MAX ((size_t)4 << 20)
#define PATTERNS_MAX 512

/* What the conversion asks for in /etc; anything else there is left out. */
static const char *const wanted_in_etc[] = {
    "NetworkManager",  "SuSE-release",   "cmdline.d", "conf.d",
    "crypttab",        "debian_version", "default",   "dracut.conf",
    "dracut.conf.d",   "elilo.conf",     "fstab",     "grub.d",
    "initramfs-tools", "kernel",         "lilo.conf", "lvm",
    "mkinitcpio.conf", "modprobe.d",     "netplan",   "network",
    "os-release",      "redhat-release", "selinux",   "sysconfig",
    "systemd",         "udev",
};
static const char *const boring_in_etc[] = {"hwdb.bin", "./selinux/?*/*", "./lvm/archive",
                                            "./lvm/backup", NULL};
static const char *const boring_in_boot[] = {
    "vmlinuz*", "vmlinux*", "bzImage*", "kernel-*", "System.map*", "symvers*", "config-*", "*.mod",
    "*.efi",    "*.EFI",    "*.pf2",    "*.mo",     "*kdump*",     "*rescue*", "memtest*", "*.png",
    "*.jpg",    "linux",    "xen*.gz",  "*.hmac",   "*.img.old",   "*.bak",    NULL};
/* The virtio modules are in drivers/{virtio,block,scsi}; of the indexes two count. */
static const char *const boring_in_modules[] = {
    "./*/modules.[!db]*",
    "./*/modules.devname",
    "./*/modules.block",
    "./*/modules.*.bin",
    "./*/kernel/[!d]*",
    "./*/kernel/drivers/[!bsv]*",
    "./*/kernel/drivers/b[!l]*",
    "./*/kernel/drivers/s[!c]*",
    "./*/kernel/drivers/v[!i]*",
    "./*/kernel/drivers/block/[!v]*",
    "./*/kernel/drivers/scsi/[!v]*",
    "./*/source",
    "./*/build",
    "./*/vdso",
    "./*/extra",
    "./*/updates",
    "./*/weak-updates",
    "./*/misc",
    "./*/vmlinuz*",
    "./*/System.map*",
    "./*/config*",
    NULL,
};

/* --- fetching --- */

struct reader {
    struct bf_tree *tree;
    const char *directory;
    const char *const *patterns;
    int fd;
    int result;
    struct bf_error err;
};

static void *read_bundle(void *user)
{
    struct reader *reader = user;

    reader->result = bf_tree_add_archive(reader->tree, reader->fd, reader->directory,
                                         reader->patterns, &reader->err);
    /* Now a writer that has more to say gets an error in place of waiting. */
    close(reader->fd);
    return NULL;
}

/* The appliance packs, a thread here unpacks: nothing is spooled to a file, and what is too large
 * ends at once. */
static int fetch(struct bf_session *session, const char *directory, const char *const *patterns,
                 struct bf_error *err)
{
    struct reader reader = {
        .tree = &session->tree, .directory = directory, .patterns = patterns, .err = BF_ERROR_INIT};
    /* tar would follow an absolute symlink into the appliance's own files. */
    bf_auto_free char *from = guestfs_realpath(session->g, directory);
    bf_auto_free char *path = NULL;
    char *excludes[PATTERNS_MAX + 1] = {NULL};
    pthread_t thread;
    int fds[2], result;

    if (!from)
        return bf_session_fail(session, directory, err);
    for (size_t i = 0; patterns[i] && i < PATTERNS_MAX; i++)
        memcpy(&excludes[i], &patterns[i], sizeof(excludes[i]));
    if (pipe2(fds, O_CLOEXEC) < 0)
        return bf_fail(err, BF_E_CONVERT_FAILED, errno, "a pipe");
    reader.fd = fds[0];
    path = bf_xasprintf("/dev/fd/%d", fds[1]);
    if (pthread_create(&thread, NULL, read_bundle, &reader) != 0)
        abort();
    result =
        guestfs_tar_out_opts(session->g, from, path, GUESTFS_TAR_OUT_OPTS_EXCLUDES, excludes, -1);
    close(fds[1]);
    pthread_join(thread, NULL);
    if (reader.result < 0) {
        *err = reader.err;
        return -1;
    }
    return result < 0 ? bf_session_fail(session, from, err) : 0;
}

static bool is_wanted_in_etc(const char *name)
{
    for (size_t i = 0; i < bf_array_length(wanted_in_etc); i++)
        if (bf_streq(name, wanted_in_etc[i]))
            return true;
    return false;
}

/* tar can leave out but not pick: so everything else that is in /etc is named. */
static int fetch_etc(struct bf_session *session, struct bf_error *err)
{
    char **names = guestfs_ls(session->g, "/etc");
    const char *patterns[PATTERNS_MAX + 1] = {NULL};
    char *made[PATTERNS_MAX];
    size_t count = 0, made_count = 0;
    int result;

    for (; boring_in_etc[count]; count++)
        patterns[count] = boring_in_etc[count];
    for (size_t i = 0; names && names[i] && count < PATTERNS_MAX; i++) {
        if (is_wanted_in_etc(names[i]) || strpbrk(names[i], "\n[]*?\\"))
            continue;
        made[made_count] = bf_xasprintf("./%s", names[i]);
        patterns[count++] = made[made_count++];
    }
    result = fetch(session, "/etc", patterns, err);
    while (made_count > 0)
        free(made[--made_count]);
    bf_strings_free(names);
    return result;
}

static int fetch_modules(struct bf_session *session, struct bf_error *err)
{
    return fetch(session, "/lib/modules", boring_in_modules, err);
}

static int fetch_boot(struct bf_session *session, struct bf_error *err)
{
    return fetch(session, "/boot", boring_in_boot, err);
}

static const struct {
    const char *directory;
    int (*fetch)(struct bf_session *session, struct bf_error *err);
} bundles[BF_SESSION_BUNDLES] = {
    {"/etc", fetch_etc},
    {"/boot", fetch_boot},
    {"/lib/modules", fetch_modules},
};

/* True: the tree answers for this path. */
static bool prepare(struct bf_session *session, const char *path)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    for (size_t i = 0; i < BF_SESSION_BUNDLES && session->g; i++) {
        size_t length = strlen(bundles[i].directory);

        if (session->bundle_tried[i] || strncmp(path, bundles[i].directory, length) != 0 ||
            (path[length] != '/' && path[length]))
            continue;
        session->bundle_tried[i] = true;
        /* Without the bundle every file is asked for alone: slower, no worse. */
        bundles[i].fetch(session, &ignored);
    }
    return bf_tree_covers(&session->tree, path);
}

/* --- asking --- */

/* True: the tree's answer, also "there is none" (NULL), is the answer. */
static bool ask_tree(struct bf_session *session, const char *path,
                     const struct bf_tree_file **ret_file)
{
    bool outside = true;

    *ret_file = NULL;
    if (prepare(session, path))
        *ret_file = bf_tree_find(&session->tree, path, &outside);
    return *ret_file || !outside || !session->g;
}

const char *bf_session_file(struct bf_session *session, const char *path, size_t *ret_size)
{
    const struct bf_change *change = bf_session_change_of(session, path);
    const struct bf_tree_file *file;

    if (change) {
        *ret_size = change->size;
        return change->data;
    }
    if (!ask_tree(session, path, &file) || !file || !file->data)
        return NULL;
    *ret_size = file->size;
    return file->data;
}

char *bf_session_read(struct bf_session *session, const char *path, size_t *ret_size)
{
    size_t size = 0;
    const char *known = bf_session_file(session, path, &size);
    const struct bf_tree_file *file;
    bf_auto_free char *data = NULL;
    char *text;

    if (!known && !ask_tree(session, path, &file))
        known = data = guestfs_read_file(session->g, path, &size);
    if (!known || size > TEXT_MAX)
        return NULL;
    /* What stands behind one would be lost when the text is written back. */
    if (memchr(known, '\0', size)) {
        bf_session_warn(session, "%s holds NUL bytes, as after a crash, and was left alone", path);
        return NULL;
    }
    /* Not every version ends it by a NUL. */
    text = bf_xcalloc(1, size + 1);
    memcpy(text, known, size);
    if (ret_size)
        *ret_size = size;
    return text;
}

char **bf_session_list(struct bf_session *session, const char *path)
{
    char **names = NULL;

    if (session->g) {
        names = guestfs_ls(session->g, path);
    } else {
        bf_auto_free char *pattern = bf_xasprintf("%s/*", path);

        names = bf_tree_glob(&session->tree, pattern);
        for (size_t i = 0; names[i]; i++)
            memmove(names[i], names[i] + strlen(path) + 1, strlen(names[i] + strlen(path) + 1) + 1);
    }
    return names ? names : bf_xcalloc(1, sizeof(*names));
}

char **bf_session_glob(struct bf_session *session, const char *pattern)
{
    bf_auto_free char *directory = bf_xasprintf("%.*s", (int)strcspn(pattern, "*?["), pattern);
    char **paths = NULL;

    *strrchr(directory, '/') = '\0';
    if (!session->g || prepare(session, directory))
        return bf_tree_glob(&session->tree, pattern);
    paths = guestfs_glob_expand(session->g, pattern);
    return paths ? paths : bf_xcalloc(1, sizeof(*paths));
}

bool bf_session_exists(struct bf_session *session, const char *path)
{
    const struct bf_tree_file *file;

    if (bf_session_change_of(session, path))
        return true;
    if (ask_tree(session, path, &file))
        return file != NULL;
    return guestfs_exists(session->g, path) == 1;
}

int bf_session_download(struct bf_session *session, const char *path, const char *local, size_t max,
                        struct bf_error *err)
{
    int64_t size = guestfs_filesize(session->g, path);

    if (size > (int64_t)max)
        return bf_fail(err, BF_E_TOO_LARGE, 0,
                       "the guest's %s has %lld bytes, at most %zu are taken", path,
                       (long long)size, max);
    if (size < 0 || guestfs_download(session->g, path, local) < 0)
        return bf_session_fail(session, path, err);
    return 0;
}
