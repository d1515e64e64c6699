/* SPDX-License-Identifier: Apache-2.0 */
/* Drives guest/convert.h for the tests: converts disks in place and prints what came of it.
 *
 *   convert-disks --work DIR [--mode M] [--cache DIR] [--format F] [--name N] [--uefi]
 *                 [--deadline SECONDS] [--virtio-win PATH] [--mac MAC] [--plan FILE] [--inspect]
 *                 [--grow] [--serial-console] DISK...        (--mac once for each card)
 *
 * With --inspect the disks are only looked at.
 * Standard output: one JSON object, the report or the plan, or {"error": ...} with exit code 1.
 * Standard error: the lines of progress.  SIGTERM cancels. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/convert.h"
#include "guest/inspect.h"

#define DISKS_MAX 32

static const struct option options[] = {
    {"work", required_argument, NULL, 'w'},     {"mode", required_argument, NULL, 'm'},
    {"cache", required_argument, NULL, 'c'},    {"format", required_argument, NULL, 'f'},
    {"name", required_argument, NULL, 'n'},     {"uefi", no_argument, NULL, 'u'},
    {"deadline", required_argument, NULL, 'd'}, {"virtio-win", required_argument, NULL, 'v'},
    {"mac", required_argument, NULL, 'a'},      {"plan", required_argument, NULL, 'p'},
    {"inspect", no_argument, NULL, 'i'},        {"grow", no_argument, NULL, 'g'},
    {"serial-console", no_argument, NULL, 's'}, {NULL, 0, NULL, 0},
};

static void show(const char *line, void *user)
{
    (void)user;
    fprintf(stderr, "%s\n", line);
    fflush(stderr);
}

static int cancel_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static int print_error(const struct bf_error *err)
{
    bf_auto_json *value = json_object_new_object();

    json_object_object_add(value, "error", bf_json_error(err));
    puts(bf_json_text(value));
    return 1;
}

static int print_report(const struct bf_convert_report *report)
{
    bf_auto_json *value = json_object_new_object();

    bf_json_add_string(value, "method", report->method);
    bf_json_add_string(value, "guest_os", report->guest_os);
    bf_json_add_bool(value, "planned", report->planned);
    bf_json_add_bool(value, "virtio", report->virtio);
    bf_json_add_string(value, "log_tail", report->log_tail);
    json_object_object_add(value, "warnings", json_object_get(report->warnings));
    json_object_object_add(value, "seconds", json_object_new_double(report->seconds));
    puts(bf_json_text(value));
    return 0;
}

static int inspect(const struct bf_convert_request *request)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *plan = NULL;

    if (bf_inspect_run(request, &plan, &err) < 0)
        return print_error(&err);
    puts(bf_json_text(plan));
    return 0;
}

static int usage(void)
{
    fputs("usage: convert-disks --work DIR [options] DISK...\n", stderr);
    return 2;
}

/* False: a usage error. */
static bool read_options(int argc, char **argv, struct bf_convert_request *request, char **format,
                         bool *ret_inspect, struct bf_error *err)
{
    static const char *macs[DISKS_MAX];
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (option) {
        case 'w':
            request->work_directory = optarg;
            break;
        case 'm':
            if (bf_convert_mode_from_string(optarg, &request->mode, err) < 0)
                return true;
            break;
        case 'c':
            request->cache_directory = optarg;
            break;
        case 'f':
            *format = optarg;
            break;
        case 'n':
            request->name = optarg;
            break;
        case 'u':
            request->uefi = true;
            break;
        case 'd':
            request->deadline = bf_deadline_in((uint64_t)(atof(optarg) * 1000));
            break;
        case 'a':
            request->macs = macs;
            if (request->mac_count < DISKS_MAX)
                macs[request->mac_count++] = optarg;
            break;
        case 'g':
            request->grow = true;
            break;
        case 's':
            request->serial_console = true;
            break;
        case 'p':
            if (bf_json_read_file(optarg, &request->plan, err) < 0)
                return true;
            break;
        case 'i':
            *ret_inspect = true;
            break;
        case 'v':
            request->virtio_win = optarg;
            break;
        default:
            return false;
        }
    }
    return request->work_directory && optind < argc && argc - optind <= DISKS_MAX;
}

int main(int argc, char **argv)
{
    bf_auto_error err = BF_ERROR_INIT;
    char raw[] = "raw", *format = raw;
    struct bf_endpoint_spec specs[DISKS_MAX] = {0};
    const struct bf_endpoint_spec *disks[DISKS_MAX];
    struct bf_convert_report report = {0};
    struct bf_convert_request request = {.name = "test", .disks = disks, .progress = show};
    bool only_inspect = false;
    int result;

    request.cancel_fd = cancel_signals();
    if (!read_options(argc, argv, &request, &format, &only_inspect, &err))
        return usage();
    if (bf_error_is_set(&err))
        return print_error(&err);
    for (int i = optind; i < argc; i++) {
        specs[i - optind] = (struct bf_endpoint_spec){.uri = argv[i], .format = format};
        disks[request.disk_count++] = &specs[i - optind];
    }
    if (only_inspect)
        return inspect(&request);
    if (bf_convert_run(&request, &report, &err) < 0)
        return print_error(&err);
    result = print_report(&report);
    bf_convert_report_done(&report);
    json_object_put(request.plan);
    return result;
}
