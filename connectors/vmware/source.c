/* SPDX-License-Identifier: Apache-2.0 */
/* The source side of the seam: disks of a snapshot opened for reading. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "connectors/vmware/cbt.h"
#include "connectors/vmware/export.h"
#include "connectors/vmware/folder.h"
#include "connectors/vmware/hotadd.h"
#include "connectors/vmware/precheck.h"
#include "connectors/vmware/read_path.h"
#include "connectors/vmware/reader.h"
#include "connectors/vmware/serve.h"
#include "connectors/vmware/snapshot.h"

struct source_disk {
    struct bf_source_disk base;
    struct bf_vmware_reader *reader; /* NULL: another read path */
    struct bf_vmware_hotadd *hotadd; /* NULL: another read path */
    struct bf_server *server;        /* NULL: another read path */
    char *export_path;               /* NULL: another read path */
    char *map_path;                  /* NULL: none */
};

/* The map is asked for anew: it is the same one as long as the snapshot is there, so a round that
 * goes on after a restart has its map without anything kept. */
static int write_map(struct bf_vmware *vw, const struct bf_vmware_moment *moment,
                     const struct bf_vmware_ref_disk *wanted, struct source_disk *disk,
                     struct bf_error *err)
{
    struct bf_vmware_query query = {.machine = moment->machine,
                                    .snapshot = moment->snapshot,
                                    .disk_key = wanted->key,
                                    .change_id = wanted->since,
                                    .size_bytes = wanted->size_bytes};
    bf_auto_vmware_areas areas = {0};

    if (bf_vmware_changed_areas(vw, &query, &areas, err) < 0)
        return -1;
    disk->map_path =
        bf_xasprintf("%s/map-%d-%u", vw->conf.work_directory, (int)gettid(), vw->serial++);
    return bf_vmware_areas_write(&areas, disk->map_path, err);
}

/* A snapshot that somebody removed is told as that, whatever the reader would have said. */
static int check_there(struct bf_vmware *vw, const struct bf_vmware_moment *moment,
                       struct bf_vmware_machine **ret_machine, struct bf_error *err)
{
    bf_auto_vmware_machine *machine = NULL;

    if (bf_vmware_machine_get(vw, moment->machine, BF_E_MACHINE_GONE, &machine, err) < 0)
        return -1;
    for (size_t i = 0; i < machine->snapshot_count; i++) {
        if (bf_streq(machine->snapshots[i].ref, moment->snapshot)) {
            *ret_machine = bf_steal(machine);
            return 0;
        }
    }
    return bf_fail(err, BF_E_SNAPSHOT_FAILED, 0,
                   "snapshot %s of machine %s is gone: somebody removed it", moment->tag,
                   machine->machine->name);
}

/* The file is the snapshot's, its datastore the machine's: it has not moved, or the file is not
 * found. */
static int open_datastore(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                          const struct bf_vmware_ref_disk *wanted, struct source_disk *disk,
                          struct bf_error *err)
{
    const struct bf_vmware_disk *live = bf_vmware_machine_disk(machine, wanted->key);
    struct bf_vmware_folder_file file = {.file = wanted->file,
                                         .datastore = live ? live->datastore : NULL,
                                         .size_bytes = wanted->size_bytes};

    return bf_vmware_folder_serve(vw, machine, &file, &disk->server, err);
}

static int open_reader(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                       const struct bf_vmware_moment *moment,
                       const struct bf_vmware_ref_disk *wanted, struct source_disk *disk,
                       struct bf_error *err)
{
    enum bf_vmware_path path;

    if (bf_vmware_read_path(vw, machine, &path, err) < 0)
        return -1;
    if (path == BF_VMWARE_PATH_VDDK || path == BF_VMWARE_PATH_PLUGIN)
        return bf_vmware_reader_open(vw, path, machine->host, moment, wanted, &disk->reader, err);
    if (path == BF_VMWARE_PATH_DATASTORE || path == BF_VMWARE_PATH_MOVER) {
        if ((path == BF_VMWARE_PATH_MOVER
                 ? bf_vmware_hotadd_open(vw, machine, moment, wanted, &disk->hotadd, err)
                 : open_datastore(vw, machine, wanted, disk, err)) == 0)
            return 0;
        if (!bf_vmware_read_path_falls_back(vw, path, err))
            return -1;
        bf_error_clear(err);
    }
    return bf_vmware_export(vw, moment, wanted, &disk->export_path, err);
}

static const char *uri_of(const struct source_disk *disk)
{
    if (disk->reader)
        return bf_vmware_reader_uri(disk->reader);
    if (disk->hotadd)
        return bf_vmware_hotadd_spec(disk->hotadd)->uri;
    return disk->server ? bf_server_uri(disk->server) : disk->export_path;
}

static int open_disk(struct bf_vmware *vw, const struct bf_vmware_moment *moment,
                     const struct bf_vmware_ref_disk *wanted, struct source_disk *disk,
                     struct bf_error *err)
{
    bf_auto_vmware_machine *machine = NULL;

    if (check_there(vw, moment, &machine, err) < 0 ||
        open_reader(vw, machine, moment, wanted, disk, err) < 0)
        return -1;
    if (wanted->since && write_map(vw, moment, wanted, disk, err) < 0)
        return -1;
    disk->base.spec = (struct bf_endpoint_spec){
        .uri = bf_xstrdup(uri_of(disk)),
        .format = bf_xstrdup("raw"),
        .map = disk->map_path ? BF_MAP_FILE : BF_MAP_ALLOCATION,
        .map_name = bf_xstrdup(disk->map_path),
        .tls_directory =
            bf_xstrdup(disk->hotadd ? bf_vmware_hotadd_spec(disk->hotadd)->tls_directory : NULL),
        .prove = disk->hotadd != NULL,
        .size_bytes = wanted->size_bytes,
    };
    return 0;
}

static void source_close_disk(struct bf_source_disk *base)
{
    struct source_disk *disk = (struct source_disk *)base;
    bf_auto_error ignored = BF_ERROR_INIT;

    bf_vmware_reader_close(bf_vmware_of(base->platform), disk->reader);
    bf_vmware_hotadd_close(bf_vmware_of(base->platform), disk->hotadd);
    (void)bf_server_stop(disk->server, BF_VMWARE_STOP_MS, &ignored);
    bf_error_clear(&ignored);
    if (disk->export_path)
        bf_vmware_export_close(bf_vmware_of(base->platform), disk->export_path);
    free(disk->export_path);
    if (disk->map_path)
        (void)bf_file_remove(disk->map_path, &ignored);
    free(disk->map_path);
    free(disk);
}

static int source_open_disk(struct bf_platform *platform, const char *snapshot_ref, const char *key,
                            struct bf_source_disk **ret_disk, struct bf_error *err)
{
    struct bf_vmware *vw = bf_vmware_of(platform);
    bf_auto_vmware_moment moment = {0};
    const struct bf_vmware_ref_disk *wanted;

    if (bf_vmware_moment_read(snapshot_ref, &moment, err) < 0)
        return -1;
    wanted = bf_vmware_moment_disk(&moment, key);
    if (!wanted || !moment.snapshot)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "snapshot %s has no disk %s", moment.tag, key);
    struct source_disk *disk = bf_xcalloc(1, sizeof(*disk));
    disk->base.platform = platform;
    if (open_disk(vw, &moment, wanted, disk, err) < 0) {
        bf_endpoint_spec_done(&disk->base.spec);
        source_close_disk(&disk->base);
        return bf_fail_in(err, "disk %s", key);
    }
    *ret_disk = &disk->base;
    return 0;
}

static int source_check_snapshot(struct bf_platform *platform, const char *snapshot_ref,
                                 struct bf_error *err)
{
    bf_auto_vmware_moment moment = {0};
    bf_auto_vmware_machine *machine = NULL;

    if (bf_vmware_moment_read(snapshot_ref, &moment, err) < 0)
        return -1;
    return check_there(bf_vmware_of(platform), &moment, &machine, err);
}

/* The variables are in the machine's .nvram file, in VMware's own form. */
static int source_firmware_vars(struct bf_platform *platform, const struct bf_machine *machine,
                                char **ret_data, size_t *ret_size, char **ret_note,
                                struct bf_error *err)
{
    (void)platform;
    (void)machine;
    (void)ret_data;
    (void)ret_size;
    (void)err;
    *ret_note = bf_xstrdup("VMware keeps UEFI variables in a form of its own");
    return 0;
}

const struct bf_source_ops bf_vmware_source_ops = {
    .precheck = bf_vmware_precheck,
    .prepare = bf_vmware_prepare,
    .snapshot = bf_vmware_snapshot,
    .open_disk = source_open_disk,
    .close_disk = source_close_disk,
    .check_snapshot = source_check_snapshot,
    .release = bf_vmware_release,
    .release_tag = bf_vmware_release_tag,
    .firmware_vars = source_firmware_vars,
};
