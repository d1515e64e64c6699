/* SPDX-License-Identifier: Apache-2.0 */
/* Drives guest/windows.h for the tests: several actions in one appliance session.
 *
 *   windows-guest [--virtio-win PATH] [--mac MAC]... [--format F] DISK inspect|convert|PATH...
 *
 * A PATH are the drivers of the actions after it.  LIBGUESTFS_TMPDIR is the working directory.
 * Standard output: a JSON array with the result of each action, or its {"error": ...}, and
 * "disk_bytes", the size of DISK's file after it; it goes on after an error. */
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

static int run(struct bf_session *session, struct bf_windows_options *options, const char *format,
               char **words, struct bf_error *err)
{
    bf_auto_json *results = json_object_new_array();

    if (bf_session_add_disk(session, words[0], format, err) < 0 ||
        bf_windows_add_drivers(session, options->virtio_win, err) < 0 ||
        bf_session_launch(session, err) < 0)
        return -1;
    for (char **action = words + 1; *action; action++)
        if (**action == '/')
            options->virtio_win = *action;
        else
            json_object_array_add(results, act(session, words[0], *action, options));
    if (bf_session_close(session, err) < 0)
        return -1;
    puts(bf_json_text(results));
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"virtio-win", required_argument, NULL, 'v'},
                                            {"mac", required_argument, NULL, 'm'},
                                            {"format", required_argument, NULL, 'f'},
                                            {NULL, 0, NULL, 0}};
    bf_cleanup(bf_session_done) struct bf_session session = {.g = guestfs_create()};
    bf_auto_error err = BF_ERROR_INIT;
    const char *macs[MACS_MAX], *format = "qcow2";
    struct bf_windows_options windows = {.macs = macs};
    int option;

    session.tmp_directory = getenv("LIBGUESTFS_TMPDIR");
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (option == 'v')
            windows.virtio_win = optarg;
        else if (option == 'f')
            format = optarg;
        else if (option == 'm' && windows.mac_count < MACS_MAX)
            macs[windows.mac_count++] = optarg;
        else
            return 2;
    }
    if (!session.g || !session.tmp_directory || optind >= argc)
        return 2;
    guestfs_set_error_handler(session.g, NULL, NULL);
    if (run(&session, &windows, format, argv + optind, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}
