/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/fast.h"

#include <string.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/appliance.h"
#include "guest/child.h"

static char *request_text(const struct bf_convert_request *request, const char *mode)
{
    bf_auto_json *value = json_object_new_object();
    struct json_object *disks = json_object_new_array();
    struct json_object *macs = json_object_new_array();

    for (size_t i = 0; i < request->disk_count; i++) {
        struct json_object *disk = json_object_new_object();
        const char *format = request->disks[i]->format;

        bf_json_add_string(disk, "uri", request->disks[i]->uri);
        bf_json_add_string(disk, "format", format ? format : "raw");
        json_object_array_add(disks, disk);
    }
    for (size_t i = 0; i < request->mac_count; i++)
        json_object_array_add(macs, json_object_new_string(request->macs[i]));
    bf_json_add_string(value, "mode", mode);
    if (request->mode == BF_CONVERT_WINDOWS)
        bf_json_add_string(value, "method", "windows");
    if (request->virtio_win && (request->mode == BF_CONVERT_WINDOWS || bf_streq(mode, "inspect")))
        bf_json_add_string(value, "virtio_win", request->virtio_win);
    json_object_object_add(value, "disks", disks);
    json_object_object_add(value, "macs", macs);
    bf_json_add_bool(value, "grow", request->grow);
    bf_json_add_bool(value, "serial_console", request->serial_console);
    if (request->plan)
        json_object_object_add(value, "plan", json_object_get(request->plan));
    return bf_xstrdup(bf_json_text(value));
}

static void show_line(const char *line, void *user)
{
    const struct bf_convert_request *const *request = user;
    const char *text = line[0] == '[' ? strstr(line, "] ") : NULL;

    if (text && (*request)->progress)
        (*request)->progress(text + 2, (*request)->user);
}

/* The list of changes is what an admin wants to read. */
static char *change_lines(struct json_object *changes)
{
    bf_auto_buf lines = {0};

    for (size_t i = 0; i < json_object_array_length(changes); i++)
        bf_buf_addf(&lines, "%s\n", json_object_get_string(json_object_array_get_idx(changes, i)));
    return lines.text ? bf_steal(lines.text) : bf_xstrdup("the guest has virtio; nothing to do\n");
}

static int read_report(const struct bf_convert_request *request, struct json_object *result,
                       struct bf_convert_report *report, struct bf_error *err)
{
    struct json_object *changes = NULL, *warnings = NULL;
    const char *system = NULL;

    if (bf_json_get_array(result, "", "changes", &changes, err) < 0 ||
        bf_json_get_array(result, "", "warnings", &warnings, err) < 0 ||
        bf_json_opt_string(result, "", "guest_os", &system, err) < 0 ||
        bf_json_opt_bool(result, "", "planned", &report->planned, err) < 0)
        return -1;
    report->method = bf_xstrdup(request->mode == BF_CONVERT_WINDOWS ? "windows" : "fast");
    report->guest_os = bf_xstrdup(system);
    report->virtio = true;
    report->log_tail = change_lines(changes);
    report->warnings = json_object_get(warnings);
    return 0;
}

static int judge(const char *result_file, int status, const char *output,
                 struct json_object **ret_result, bool *ret_untouched, struct bf_error *err)
{
    bf_auto_error unreadable = BF_ERROR_INIT;
    bf_auto_json *result = NULL;
    struct json_object *error = NULL;

    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 ||
        bf_json_read_file(result_file, &result, &unreadable) < 0) {
        bf_fail(err, BF_E_CONVERT_FAILED, 0, "blockferry-convert ended without a result (%s %d)",
                WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        bf_error_evidence(err, output);
        return -1;
    }
    if (!json_object_object_get_ex(result, "error", &error)) {
        *ret_result = bf_steal(result);
        return 0;
    }
    if (bf_json_to_error(error, err) < 0)
        return bf_fail(err, BF_E_CONVERT_FAILED, 0, "blockferry-convert's error is unreadable");
    if (bf_json_opt_bool(result, "", "untouched", ret_untouched, &unreadable) < 0)
        *ret_untouched = false;
    if (!err->evidence)
        bf_error_evidence(err, output);
    return -1;
}

int bf_fast_call(const struct bf_convert_request *request, const char *mode, const char *directory,
                 struct json_object **ret_result, bool *ret_untouched, struct bf_error *err)
{
    bf_auto_free char *program = NULL;
    bf_auto_free char *result_file = bf_xasprintf("%s/result.json", directory);
    bf_auto_free char *input = request_text(request, mode);
    bf_auto_free char *output = NULL;
    const char *argv[] = {NULL, result_file, NULL};
    struct bf_guest_child child = {.argv = argv,
                                   .input = input,
                                   .deadline = request->deadline,
                                   .cancel_fd = request->cancel_fd,
                                   .line = show_line,
                                   .user = &request};
    struct bf_appliance_env env;
    int status = 0, result;

    if (bf_program_find("blockferry-convert", &program, err) < 0) {
        *ret_untouched = true;
        return -1;
    }
    argv[0] = program;
    if (bf_appliance_env_init(request, directory, &env, err) < 0)
        return -1;
    child.env = env.list;
    result = bf_guest_child_run(&child, &status, &output, err);
    bf_appliance_env_done(&env);
    if (result < 0)
        return -1;
    return judge(result_file, status, output, ret_result, ret_untouched, err);
}

int bf_fast_run(const struct bf_convert_request *request, struct bf_convert_report *report,
                bool *ret_untouched, struct bf_error *err)
{
    bf_auto_free char *directory = bf_xasprintf("%s/fast", request->work_directory);
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_json *answer = NULL;
    int result;

    *ret_untouched = false;
    if (bf_directory_remove(directory, err) < 0 || bf_directory_make(directory, 0700, err) < 0)
        return -1;
    result = bf_fast_call(request, "convert", directory, &answer, ret_untouched, err);
    if (result == 0)
        result = read_report(request, answer, report, err);
    bf_directory_remove(directory, &ignored);
    return result;
}
