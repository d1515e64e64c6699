/* SPDX-License-Identifier: Apache-2.0 */
/* blockferry-convert: makes one guest's disks boot on virtio, in one appliance session; or only
 * looks what that would need.
 *
 * A program of its own, because libguestfs reads what a guest wrote: it gets no secret, has
 * limits of memory, and can be killed with its appliance.  Used by blockferryd only:
 *
 *     blockferry-convert RESULT-FILE < REQUEST
 *
 * REQUEST   {"mode": "convert"|"inspect", "disks": [{"uri", "format"}, ...],
 *            "macs": ["52:54:...", ...], "plan"?: {...}, "grow"?: false, "serial_console"?: false}
 *           "inspect": the disks are opened read-only.  "plan" (plan.h) stands in for the
 *           inspection of a conversion; a guest that is not as planned is inspected after all.
 *           "grow": the last partition of each disk fills the disk.  An inspection tells of both.
 *           For Windows beside: "method": "windows" (convert), "virtio_win": PATH.
 * RESULT    {"error": {...}}, or for "inspect" {"plan"}, or
 *           {"guest_os", "changes": [text, ...], "warnings": [text, ...], "planned": bool};
 * with "untouched" beside an error nothing was changed, and virt-v2v may be tried.
 * Standard output: a line of progress each "[ seconds] text", as virt-v2v does. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/appliance_kernel.h"
#include "guest/inspect_guest.h"
#include "guest/linux.h"
#include "guest/plan.h"
#include "guest/session.h"
#include "guest/windows.h"

#define REQUEST_MAX ((size_t)1 << 20)
#define MACS_MAX 64

static uint64_t began_ms;

static void say(const char *text)
{
    printf("[%6.1f] %s\n", (double)(bf_now_ms() - began_ms) / 1000, text);
    fflush(stdout);
}

static int add_disks(struct bf_session *session, struct json_object *request, struct bf_error *err)
{
    struct json_object *disks = NULL;

    if (bf_json_get_array(request, "", "disks", &disks, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(disks); i++) {
        struct json_object *disk = json_object_array_get_idx(disks, i);
        const char *uri = NULL, *format = NULL;

        if (bf_json_get_string(disk, "disks", "uri", &uri, err) < 0 ||
            bf_json_get_string(disk, "disks", "format", &format, err) < 0 ||
            bf_session_add_disk(session, uri, format, err) < 0)
            return -1;
    }
    return 0;
}

struct mac_list {
    const char *macs[MACS_MAX];
    size_t count;
};

static void read_macs(struct json_object *request, struct mac_list *ret)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    struct json_object *list = NULL;

    *ret = (struct mac_list){.count = 0};
    if (bf_json_opt_array(request, "", "macs", &list, &ignored) < 0 || !list)
        return;
    for (size_t i = 0; i < json_object_array_length(list) && ret->count < MACS_MAX; i++)
        ret->macs[ret->count++] = json_object_get_string(json_object_array_get_idx(list, i));
}

/* Failed before the first change, for a reason that virt-v2v may not have. */
static bool is_untouched(const struct bf_error *err, bool applying)
{
    return !applying && (err->code == BF_E_GUEST_UNSUPPORTED || err->code == BF_E_GUEST_INITRAMFS ||
                         err->code == BF_E_CONVERT_FAILED);
}

static bool wants(struct json_object *request, const char *key)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    bool value = false;

    return bf_json_opt_bool(request, "", key, &value, &ignored) == 0 && value;
}

static int decide(struct bf_session *session, struct json_object *request, struct bf_error *err)
{
    struct mac_list list;

    say("Reading the guest");
    if (bf_linux_plan_initrd(session, err) < 0 || bf_linux_plan_generators(session, err) < 0 ||
        bf_linux_plan_names(session, err) < 0 ||
        (wants(request, "serial_console") && bf_linux_plan_console(session, err) < 0))
        return -1;
    read_macs(request, &list);
    bf_linux_plan_network(session, list.macs, list.count);
    return 0;
}

/* By the plan, if there is one and it still holds. */
static int open_guest(struct bf_session *session, struct json_object *request, bool *ret_planned,
                      struct bf_error *err)
{
    struct json_object *plan = NULL;
    bf_auto_free char *why = NULL;

    if (bf_json_opt_object(request, "", "plan", &plan, err) < 0)
        return -1;
    if (plan) {
        say("Opening the guest by its plan");
        *ret_planned = bf_plan_open(session, plan, &why);
        if (*ret_planned)
            return 0;
        bf_session_warn(session, "the guest is not as planned (%s); it was inspected again", why);
    }
    say("Inspecting the guest");
    return bf_session_open_guest(session, err);
}

static int start(struct bf_session *session, struct json_object *request, struct bf_error *err)
{
    const char *drivers = NULL;

    if (add_disks(session, request, err) < 0 ||
        bf_json_opt_string(request, "", "virtio_win", &drivers, err) < 0 ||
        (drivers && bf_windows_add_drivers(session, drivers, err) < 0))
        return -1;
    say("Starting the appliance");
    return bf_session_launch(session, err);
}

static int convert(struct bf_session *session, struct json_object *request, bool *ret_planned,
                   bool *ret_applying, struct bf_error *err)
{
    if (start(session, request, err) < 0 || open_guest(session, request, ret_planned, err) < 0 ||
        decide(session, request, err) < 0)
        return -1;
    say("Changing the guest");
    *ret_applying = true;
    if (bf_session_apply(session, err) < 0 ||
        (wants(request, "grow") && bf_linux_grow(session, err) < 0))
        return -1;
    say("Closing the disks");
    if (bf_session_close(session, err) < 0)
        return -1;
    say("Done");
    return 0;
}

static int read_windows_options(struct json_object *request, struct mac_list *list,
                                struct bf_windows_options *ret, struct bf_error *err)
{
    read_macs(request, list);
    *ret = (struct bf_windows_options){.macs = list->macs, .mac_count = list->count};
    return bf_json_opt_string(request, "", "virtio_win", &ret->virtio_win, err);
}

/* The other kind of guest; what comes of it is the result. */
static int convert_windows(struct bf_session *session, struct json_object *request,
                           struct json_object *result, struct bf_error *err)
{
    struct mac_list list;
    struct bf_windows_options options;

    if (read_windows_options(request, &list, &options, err) < 0 || start(session, request, err) < 0)
        return -1;
    say("Converting the Windows guest");
    if (bf_windows_convert(session, &options, result, err) < 0)
        return -1;
    say("Closing the disks");
    if (bf_session_close(session, err) < 0)
        return -1;
    say("Done");
    return 0;
}

static struct json_object *failure(const struct bf_error *err, bool untouched)
{
    struct json_object *result = json_object_new_object();

    json_object_object_add(result, "error", bf_json_error(err));
    bf_json_add_bool(result, "untouched", untouched);
    return result;
}

static struct json_object *answer_windows(struct bf_session *session, struct json_object *request)
{
    struct json_object *result = json_object_new_object();
    bf_auto_error err = BF_ERROR_INIT;

    if (convert_windows(session, request, result, &err) == 0)
        return result;
    json_object_put(result);
    /* Chosen by the policy: virt-v2v is not tried in its place. */
    return failure(&err, false);
}

static int inspect(struct bf_session *session, struct json_object *request,
                   struct json_object *plan, struct bf_error *err)
{
    struct mac_list list;
    struct bf_inspect_wishes wishes = {.macs = list.macs,
                                       .grow = wants(request, "grow"),
                                       .serial_console = wants(request, "serial_console")};

    read_macs(request, &list);
    wishes.mac_count = list.count;
    if (bf_json_opt_string(request, "", "virtio_win", &wishes.virtio_win, err) < 0)
        return -1;
    session->read_only = true;
    if (start(session, request, err) < 0)
        return -1;
    say("Inspecting the guest");
    if (bf_inspect_guest(session, &wishes, plan, err) < 0 || bf_session_close(session, err) < 0)
        return -1;
    say("Done");
    return 0;
}

static struct json_object *report(struct bf_session *session, bool planned)
{
    struct json_object *value = json_object_new_object();
    struct json_object *changes = json_object_new_array();

    for (size_t i = 0; i < session->change_count; i++) {
        const struct bf_change *change = &session->changes[i];
        bf_auto_free char *text = bf_xasprintf("%s: %s", change->path, change->summary);

        json_object_array_add(changes, json_object_new_string(text));
    }
    bf_json_add_string(value, "guest_os", session->product);
    json_object_object_add(value, "changes", changes);
    json_object_object_add(value, "warnings",
                           session->warnings ? json_object_get(session->warnings)
                                             : json_object_new_array());
    bf_json_add_bool(value, "planned", planned);
    return value;
}

static struct json_object *answer(struct bf_session *session, struct json_object *request)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *plan = NULL;
    const char *mode = NULL, *method = NULL;
    bool planned = false, applying = false;
    struct json_object *result;

    if (bf_json_opt_string(request, "", "mode", &mode, &err) < 0 ||
        bf_json_opt_string(request, "", "method", &method, &err) < 0)
        return failure(&err, true);
    if (!bf_streq(mode, "inspect") && bf_streq(method, "windows"))
        return answer_windows(session, request);
    if (!bf_streq(mode, "inspect"))
        return convert(session, request, &planned, &applying, &err) == 0
                   ? report(session, planned)
                   : failure(&err, is_untouched(&err, applying));
    plan = bf_plan_new();
    if (inspect(session, request, plan, &err) < 0)
        return failure(&err, true);
    result = json_object_new_object();
    json_object_object_add(result, "plan", json_object_get(plan));
    return result;
}

/* Names and words of the guest may be of any bytes, and only UTF-8 is read back.  In JSON other
 * bytes can stand within texts alone, so the whole can be cleaned at once. */
static int write_result(const char *path, struct json_object *result, struct bf_error *err)
{
    bf_auto_free char *text = bf_xstrdup(bf_json_text(result));

    bf_text_clean(text, false);
    return bf_file_replace(path, text, strlen(text), 0600, err);
}

static int run(const char *result_file, struct bf_session *session, struct bf_error *err)
{
    bf_auto_free char *text = NULL;
    bf_auto_json *request = NULL;
    bf_auto_json *result = NULL;
    size_t length = 0;

    if (bf_fd_read_all(0, REQUEST_MAX, &text, &length, err) < 0 ||
        bf_json_parse(text, length, &request, err) < 0)
        return -1;
    result = answer(session, request);
    return write_result(result_file, result, err);
}

/* Where the appliance is emulated, its kernel's unpacking of itself is a fifth of the start. */
static void offer_kernel(void)
{
    const char *cache = getenv("LIBGUESTFS_CACHEDIR");

    if (cache && getenv("LIBGUESTFS_BACKEND_SETTINGS"))
        bf_appliance_kernel_offer("/boot", "/lib/modules", cache);
}

int main(int argc, char **argv)
{
    bf_cleanup(bf_session_done) struct bf_session session = {0};
    bf_auto_error err = BF_ERROR_INIT;

    if (argc != 2) {
        fputs("usage: blockferry-convert RESULT-FILE < REQUEST\n", stderr);
        return 2;
    }
    began_ms = bf_now_ms();
    signal(SIGPIPE, SIG_IGN);
    session.tmp_directory = getenv("LIBGUESTFS_TMPDIR");
    session.g = guestfs_create();
    if (!session.g || !session.tmp_directory) {
        fputs("blockferry-convert: libguestfs or LIBGUESTFS_TMPDIR is missing\n", stderr);
        return 1;
    }
    /* Errors are told in the result; on the terminal they would only repeat the guest's words. */
    guestfs_set_error_handler(session.g, NULL, NULL);
    offer_kernel();
    if (run(argv[1], &session, &err) < 0) {
        fprintf(stderr, "blockferry-convert: %s\n", err.message);
        return 1;
    }
    return 0;
}
