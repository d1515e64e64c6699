/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/virtio_win.h"

#include <ctype.h>
#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "guest/windows.h"

#define ARCH "amd64"
#define ISO_LABEL "virtiowin"
#define PATHS_MAX 100000
#define FILES_MAX 64
#define FILE_MAX_SIZE ((size_t)64 << 20)

const char *bf_virtio_win_path(const char *given)
{
    static const char *const places[] = {"/usr/share/virtio-win/drivers/by-os",
                                         "/usr/share/virtio-win/virtio-win.iso",
                                         "/usr/share/virtio-win"};
    struct stat status;

    if (given)
        return given;
    for (size_t i = 0; i < bf_array_length(places); i++)
        if (stat(places[i], &status) == 0)
            return places[i];
    return NULL;
}

bool bf_virtio_win_is_iso(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && !S_ISDIR(status.st_mode);
}

/* Is one of the directories of the path called so? */
static bool has_element(const char *path, const char *name)
{
    size_t length = strlen(name);
    const char *slash;

    for (; (slash = strchr(path, '/')); path = slash + 1)
        if ((size_t)(slash - path) == length && strncasecmp(path, name, length) == 0)
            return true;
    return false;
}

static const char *last_element(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Debugging symbols and texts are no part of a package. */
static bool is_wanted(const char *name, const char *driver, bool own_folder)
{
    static const char *const others[] = {".pdb", ".doc", ".txt", ".md", ".ico"};

    for (size_t i = 0; i < bf_array_length(others); i++) {
        size_t length = strlen(name), ending = strlen(others[i]);

        if (length > ending && strcasecmp(name + length - ending, others[i]) == 0)
            return false;
    }
    return own_folder || strncasecmp(name, driver, strlen(driver)) == 0;
}

static void add_file(struct bf_driver *driver, const char *path)
{
    struct bf_driver_file *file;

    bf_xgrow(&driver->files, &driver->capacity, driver->count + 1, sizeof(*driver->files));
    file = &driver->files[driver->count++];
    file->source = bf_xstrdup(path);
    file->name = bf_xstrdup(last_element(path));
    for (char *at = file->name; *at; at++)
        *at = (char)tolower((unsigned char)*at);
}

bool bf_virtio_win_pick(char *const *paths, const char *driver, const char *folder,
                        const char *arch, struct bf_driver *ret_driver)
{
    bf_auto_free char *inf = bf_xasprintf("%s.inf", driver);
    const char *found = NULL;
    size_t length;

    for (size_t i = 0; paths[i]; i++)
        if (strcasecmp(last_element(paths[i]), inf) == 0 && has_element(paths[i], folder) &&
            has_element(paths[i], arch) && (!found || strcmp(paths[i], found) < 0))
            found = paths[i];
    if (!found)
        return false;
    length = (size_t)(last_element(found) - found);
    *ret_driver =
        (struct bf_driver){.name = driver, .folder = bf_xasprintf("%.*s", (int)length, found)};
    for (size_t i = 0; paths[i] && ret_driver->count < FILES_MAX; i++)
        if (strncmp(paths[i], found, length) == 0 && !strchr(paths[i] + length, '/') &&
            is_wanted(paths[i] + length, driver, has_element(found, driver)))
            add_file(ret_driver, paths[i]);
    return true;
}

/* --- the two kinds of trees --- */

static char **list_directory(const char *path, struct bf_error *err)
{
    char *roots[] = {bf_xstrdup(path), NULL};
    FTS *walk = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    char **paths = NULL;
    size_t count = 0, capacity = 0;
    FTSENT *entry;

    while (walk && count < PATHS_MAX && (entry = fts_read(walk)))
        if (entry->fts_info == FTS_F) {
            bf_xgrow(&paths, &capacity, count + 2, sizeof(*paths));
            paths[count++] = bf_xstrdup(entry->fts_path + strlen(path));
            paths[count] = NULL;
        }
    if (!walk)
        bf_fail(err, BF_E_BAD_INPUT, errno, "the driver tree %s cannot be read", path);
    else if (!paths)
        bf_fail(err, BF_E_CONVERT_NO_DRIVERS, 0, "the driver tree %s is empty", path);
    if (walk)
        fts_close(walk);
    free(roots[0]);
    return paths;
}

static char **list_iso(struct bf_session *session, const char *path, struct bf_error *err)
{
    char **paths;

    if ((guestfs_mkmountpoint(session->g, BF_VIRTIO_WIN_MOUNT) < 0 &&
         guestfs_last_errno(session->g) != EEXIST) ||
        guestfs_mount_ro(session->g, "/dev/disk/guestfs/" ISO_LABEL, BF_VIRTIO_WIN_MOUNT) < 0 ||
        !(paths = guestfs_find(session->g, BF_VIRTIO_WIN_MOUNT "/"))) {
        bf_fail(err, BF_E_CONVERT_NO_DRIVERS, 0, "the driver ISO %s cannot be read: %s", path,
                guestfs_last_error(session->g));
        return NULL;
    }
    return paths;
}

int bf_windows_add_drivers(struct bf_session *session, const char *virtio_win, struct bf_error *err)
{
    const char *path = bf_virtio_win_path(virtio_win);

    if (!path || !bf_virtio_win_is_iso(path))
        return 0;
    if (guestfs_add_drive_opts(session->g, path, GUESTFS_ADD_DRIVE_OPTS_READONLY, 1,
                               GUESTFS_ADD_DRIVE_OPTS_FORMAT, "raw", GUESTFS_ADD_DRIVE_OPTS_LABEL,
                               ISO_LABEL, -1) < 0)
        return bf_session_fail(session, path, err);
    return 0;
}

static int read_file(struct bf_session *session, const char *tree, bool iso,
                     struct bf_driver_file *file, struct bf_error *err)
{
    bf_auto_free char *path = bf_xasprintf("%s/%s", iso ? BF_VIRTIO_WIN_MOUNT : tree,
                                           file->source + (file->source[0] == '/'));
    bf_auto_free char *local = bf_xasprintf("%s/driver", session->tmp_directory);

    if (iso && guestfs_download(session->g, path, local) < 0)
        return bf_session_fail(session, path, err);
    return bf_file_read(iso ? local : path, FILE_MAX_SIZE, &file->data, &file->size, err);
}

static int find_one(struct bf_session *session, const char *tree, char *const *paths,
                    const char *name, const char *folder, struct bf_drivers *drivers,
                    struct bf_error *err)
{
    struct bf_driver *driver = &drivers->list[drivers->count];

    if (bf_virtio_win_pick(paths, name, folder, ARCH, driver)) {
        drivers->count++;
        return 0;
    }
    if (bf_streq(name, "balloon")) {
        bf_session_warn(session, "%s has no balloon driver for %s; the guest works without", tree,
                        folder);
        return 0;
    }
    return bf_fail(err, BF_E_CONVERT_NO_DRIVERS, 0, "%s has no %s/%s/" ARCH "/%s.inf", tree, name,
                   folder, name);
}

static int find_all(struct bf_session *session, const char *path, const char *const *names,
                    const char *folder, bool read, char *const *paths, struct bf_drivers *drivers,
                    struct bf_error *err)
{
    bool iso = bf_virtio_win_is_iso(path);

    for (; *names && drivers->count < BF_DRIVERS_MAX; names++)
        if (find_one(session, path, paths, *names, folder, drivers, err) < 0)
            return -1;
    for (size_t i = 0; read && i < drivers->count; i++)
        for (size_t j = 0; j < drivers->list[i].count; j++)
            if (read_file(session, path, iso, &drivers->list[i].files[j], err) < 0)
                return -1;
    return 0;
}

int bf_virtio_win_find(struct bf_session *session, const char *path, const char *const *names,
                       const char *folder, bool read, struct bf_drivers *ret_drivers,
                       struct bf_error *err)
{
    struct bf_drivers drivers = {0};
    char **paths;
    int result;

    path = bf_virtio_win_path(path);
    if (!path)
        return bf_fail(err, BF_E_CONVERT_NO_DRIVERS, 0,
                       "no virtio-win tree or ISO was given (looked for %s/%s/" ARCH ")", *names,
                       folder);
    paths = bf_virtio_win_is_iso(path) ? list_iso(session, path, err) : list_directory(path, err);
    if (!paths)
        return -1;
    result = find_all(session, path, names, folder, read, paths, &drivers, err);
    bf_strings_free(paths);
    if (result < 0)
        bf_drivers_done(&drivers);
    else
        *ret_drivers = drivers;
    return result;
}

void bf_drivers_done(struct bf_drivers *drivers)
{
    for (size_t i = 0; i < drivers->count; i++) {
        struct bf_driver *driver = &drivers->list[i];

        for (size_t j = 0; j < driver->count; j++) {
            free(driver->files[j].source);
            free(driver->files[j].name);
            free(driver->files[j].data);
        }
        free(driver->files);
        free(driver->folder);
    }
    *drivers = (struct bf_drivers){0};
}
