/* SPDX-License-Identifier: Apache-2.0 */
/* Drives guest/windows.h for the tests: several actions in one appliance session.
 *
 *   windows-guest [--virtio-win PATH] [--mac MAC]... [--beside DISK]... DISK
 * inspect|convert|PATH...
 *
 * A PATH are the drivers of the actions after it.  LIBGUESTFS_TMPDIR is the working directory.
 * Each DISK beside (qcow2 as all) is a guest of its own, as if it were the only one: the actions
 * are done on every disk in turn.  Standard output: a JSON array with the result of each action, or
 * its
 * {"error": ...}, and "disk_bytes", the size of DISK's file after it; it goes on after an error. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/plan.h"
#include "guest/windows.h"

#define MACS_MAX 8
#define DISKS_MAX 8

struct disks {
    const char *paths[DISKS_MAX];
    size_t count;
};

static struct json_object *act(struct bf_session *session, const char *disk, const char *action,
                               const struct bf_windows_options *options)
{
    struct stat status = {0};
    struct json_object *result =
        bf_streq(action, "inspect") ? bf_plan_new() : json_object_new_object();
    bf_auto_error err = BF_ERROR_INIT;
    uint64_t began_ms = bf_now_ms();
    int failed = bf_streq(action, "inspect") ? bf_windows_inspect(session, options, result, &err)
                                             : bf_windows_convert(session, options, result, &err);

    if (failed)
        json_object_object_add(result, "error", bf_json_error(&err));
    json_object_object_add(result, "seconds",
                           json_object_new_double((double)(bf_now_ms() - began_ms) / 1000));
    guestfs_sync(session->g);
    if (stat(disk, &status) == 0)
        bf_json_add_i64(result, "disk_bytes", status.st_size);
    json_object_put(session->warnings);
    session->warnings = NULL;
    return result;
}

/* Put the file systems of this disk first and know no others. */
static int choose(struct bf_session *session, size_t disk, size_t *all, struct bf_error *err)
{
    const char *device;
    size_t found = 0;

    if (bf_session_list_filesystems(session, err) < 0)
        return -1;
    if (*all == 0)
        *all = session->filesystem_count;
    device = session->devices[disk];
    for (size_t i = 0; i < *all; i++)
        if (bf_starts_with(session->filesystems[i].device, device)) {
            struct bf_filesystem first = session->filesystems[found];

            session->filesystems[found++] = session->filesystems[i];
            session->filesystems[i] = first;
        }
    session->filesystem_count = found;
    return 0;
}

static int act_on_all(struct bf_session *session, const struct bf_windows_options *options,
                      const struct disks *disks, const char *action, struct json_object *results,
                      struct bf_error *err)
{
    size_t all = 0;

    for (size_t i = 0; i < disks->count; i++) {
        if (disks->count > 1 && choose(session, i, &all, err) < 0)
            return -1;
        json_object_array_add(results, act(session, disks->paths[i], action, options));
    }
    /* None is lost: they are freed with the session. */
    if (disks->count > 1)
        session->filesystem_count = all;
    return 0;
}

static int run(struct bf_session *session, struct bf_windows_options *options,
               const struct disks *disks, char **words, struct bf_error *err)
{
    bf_auto_json *results = json_object_new_array();

    for (size_t i = 0; i < disks->count; i++)
        if (bf_session_add_disk(session, disks->paths[i], "qcow2", err) < 0)
            return -1;
    if (bf_windows_add_drivers(session, options->virtio_win, err) < 0 ||
        bf_session_launch(session, err) < 0)
        return -1;
    for (char **action = words; *action; action++)
        if (**action == '/')
            options->virtio_win = *action;
        else if (act_on_all(session, options, disks, *action, results, err) < 0)
            return -1;
    if (bf_session_close(session, err) < 0)
        return -1;
    puts(bf_json_text(results));
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"virtio-win", required_argument, NULL, 'v'},
                                            {"mac", required_argument, NULL, 'm'},
                                            {"beside", required_argument, NULL, 'b'},
                                            {NULL, 0, NULL, 0}};
    bf_cleanup(bf_session_done) struct bf_session session = {.g = guestfs_create()};
    bf_auto_error err = BF_ERROR_INIT;
    const char *macs[MACS_MAX];
    struct bf_windows_options windows = {.macs = macs};
    struct disks disks = {.count = 1};
    int option;

    session.tmp_directory = getenv("LIBGUESTFS_TMPDIR");
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (option == 'v')
            windows.virtio_win = optarg;
        else if (option == 'b' && disks.count < DISKS_MAX)
            disks.paths[disks.count++] = optarg;
        else if (option == 'm' && windows.mac_count < MACS_MAX)
            macs[windows.mac_count++] = optarg;
        else
            return 2;
    }
    if (!session.g || !session.tmp_directory || optind >= argc)
        return 2;
    disks.paths[0] = argv[optind];
    guestfs_set_error_handler(session.g, NULL, NULL);
    if (run(&session, &windows, &disks, argv + optind + 1, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}
