/* SPDX-License-Identifier: Apache-2.0 */
/* What an attached disk is called, and where it is served. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/mover_private.h"

#define DEVICE_PAUSE_MS 100

char *bf_mover_export_name(const char *id)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t length = strlen(id);

    while (length > 0 && strchr(" \t\n\r\f\v", id[0])) {
        id++;
        length--;
    }
    while (length > 0 && strchr(" \t\n\r\f\v", id[length - 1]))
        length--;
    if (length == 0)
        return NULL;
    char *name = bf_xasprintf("%.*s", (int)length, id);
    for (size_t i = 0; i < length; i++) {
        if (!strchr(plain, name[i]) && !(name[i] == '.' && i > 0))
            name[i] = '_';
    }
    return name;
}

/* "virtio-SERIAL", "scsi-0QEMU_QEMU_HARDDISK_SERIAL": the serial is what fits of the id. */
static bool is_device(const char *name, const char *serial)
{
    return strstr(name, serial) && !strstr(name, "-part");
}

static char *find_device(const char *directory, const char *serial)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    char *path = NULL;

    while (dir && !path && (entry = readdir(dir))) {
        if (is_device(entry->d_name, serial))
            path = bf_xasprintf("%s/%s", directory, entry->d_name);
    }
    if (dir)
        closedir(dir);
    return path;
}

/* Attached to this very machine: its kernel and udev take a moment. */
static int await_device(struct bf_platform *platform, const struct bf_mover_conf *conf,
                        const char *serial, struct bf_deadline deadline, char **ret_uri,
                        struct bf_error *err)
{
    while (!(*ret_uri = find_device(conf->devices, serial))) {
        if (bf_deadline_passed(deadline))
            return bf_fail(
                err, BF_E_MOVER_NOT_SERVING, 0,
                "no disk with the serial %s appeared in %s; does this service run on %s?", serial,
                conf->devices, conf->id);
        if (bf_platform_pause(platform, DEVICE_PAUSE_MS, deadline, err) < 0)
            return -1;
    }
    return 0;
}

int bf_mover_fill_spec(struct bf_platform *platform, const struct bf_mover_conf *conf,
                       const struct bf_mover_request *request, const char *export_name,
                       struct bf_deadline deadline, struct bf_endpoint_spec *spec,
                       struct bf_error *err)
{
    bf_auto_free char *clean = export_name ? bf_mover_export_name(export_name) : NULL;
    bf_auto_free char *uri = NULL;

    if (!clean || !bf_streq(clean, export_name))
        return bf_fail(err, BF_E_MOVER_NOT_SERVING, 0, "disk %s has no name that a mover can serve",
                       request->disk);
    if (!conf->devices)
        uri = bf_xasprintf("nbds://%s/%s", conf->address, export_name);
    else if (await_device(platform, conf, export_name, deadline, &uri, err) < 0)
        return -1;
    *spec = (struct bf_endpoint_spec){
        .uri = bf_steal(uri),
        .format = bf_xstrdup("raw"),
        .tls_directory = bf_xstrdup(conf->tls_directory),
        .size_bytes = request->size_bytes,
    };
    return 0;
}
