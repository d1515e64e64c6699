/* SPDX-License-Identifier: Apache-2.0 */
/* Windows drivers from the virtio-win ISO, from a directory with its content, or from the
 * distribution's package of it.
 *
 * A driver is found by the elements of its path, whatever their depth and case, so that the ISO's
 * layout (viostor/2k19/amd64/viostor.sys) serves as well as the package's by-os/amd64/2k19/.  All
 * files beside the .inf are taken, the signature (.cat) among them: Windows accepts a package only
 * whole.
 *
 * An ISO is read by the appliance, a directory by us. */
#pragma once

#include "guest/session.h"

#define BF_VIRTIO_WIN_MOUNT "/iso" /* of an ISO, in the session */

struct bf_driver_file {
    char *source; /* below the tree */
    char *name;   /* without directories, lower case */
    char *data;
    size_t size;
};

struct bf_driver {
    const char *name; /* "viostor" */
    char *folder;     /* where it lies in the tree */
    struct bf_driver_file *files;
    size_t count, capacity;
};

#define BF_DRIVERS_MAX 4
struct bf_drivers {
    struct bf_driver list[BF_DRIVERS_MAX];
    size_t count;
};

/* The given path, or where the distribution puts it; NULL: nowhere.  Borrowed. */
const char *bf_virtio_win_path(const char *given);
bool bf_virtio_win_is_iso(const char *path);

/* Choose from the tree's paths ("viostor/2k19/amd64/viostor.sys", with or without a slash before)
 * the files of one driver; contents are not read.  False: it is not there. */
bool bf_virtio_win_pick(char *const *paths, const char *driver, const char *folder,
                        const char *arch, struct bf_driver *ret_driver);

/* Find these drivers (NULL-terminated names).  Of a missing one: BF_E_CONVERT_NO_DRIVERS naming the
 * path looked for, or a warning when it is an optional one (balloon).  Contents are read with
 * `read`.  The session is launched, an ISO was added by bf_windows_add_drivers(); nothing but the
 * ISO may be mounted at /iso, where it stays mounted. */
int bf_virtio_win_find(struct bf_session *session, const char *path, const char *const *names,
                       const char *folder, bool read, struct bf_drivers *ret_drivers,
                       struct bf_error *err);
void bf_drivers_done(struct bf_drivers *drivers);
