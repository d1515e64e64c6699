/* SPDX-License-Identifier: Apache-2.0 */
/* A connector knows no NBD; blockferry-copy does.  It is told to copy nothing (an empty change map)
 * from the endpoint to nowhere: that connects, checks certificates, opens the export and says its
 * size.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/text.h"
#include "connectors/mover.h"

#define TRY_MS 20000
#define PAUSE_MS 200
#define OUTPUT_MAX 65536

/* Its last event: an object, or NULL. */
static struct json_object *last_event(char *output)
{
    struct json_object *event = NULL;
    bf_auto_error bad = BF_ERROR_INIT;

    for (char *line = strtok_r(output, "\n", &output); line; line = strtok_r(NULL, "\n", &output)) {
        json_object_put(event);
        event = NULL;
        bf_error_clear(&bad);
        if (bf_json_parse(line, strlen(line), &event, &bad) < 0)
            event = NULL;
    }
    return event;
}

static int ask(struct bf_platform *platform, const char *program,
               const struct bf_endpoint_spec *spec, struct bf_error *err)
{
    bf_auto_free char *output = NULL;
    const char *argv[] = {program,
                          "--progress",
                          "json",
                          "--reconnect",
                          "0",
                          "--map",
                          "/dev/null",
                          spec->uri,
                          "null:",
                          spec->tls_directory ? "--tls-certificates" : NULL,
                          spec->tls_directory,
                          NULL};

    if (bf_process_run(argv, NULL, bf_deadline_in(TRY_MS), bf_platform_cancel_fd(platform),
                       OUTPUT_MAX, &output, err) < 0)
        return -1;
    bf_auto_json *event = last_event(output);
    struct json_object *size = NULL;
    if (!event || !json_object_object_get_ex(event, "size", &size))
        return bf_fail(err, BF_E_CHILD_FAILED, 0, "blockferry-copy says no size");
    uint64_t found = (uint64_t)json_object_get_int64(size);
    if (spec->size_bytes && found != spec->size_bytes)
        return bf_fail(err, BF_E_DISK_CHANGED, 0, "it has %" PRIu64 " bytes instead of %" PRIu64,
                       found, spec->size_bytes);
    return 0;
}

/* No disk has this name: exports are named by serials and ids. */
#define NO_EXPORT "blockferry-greeting"

/* The last thing that was said, without the words around it. */
static char *last_words(struct bf_process *process)
{
    const char *tail = bf_process_tail(process);
    const char *line = tail ? strstr(tail, "blockferry-copy: error: ") : NULL;
    char *text;

    if (!line)
        return bf_xstrdup(tail && *tail ? tail : "it said nothing");
    line += strlen("blockferry-copy: error: ");
    text = bf_xasprintf("%.*s", (int)strcspn(line, "\n"), line);
    bf_text_clean(text, false);
    return text;
}

int bf_mover_greet(struct bf_platform *platform, const struct bf_mover_conf *conf,
                   struct bf_error *err)
{
    bf_auto_free char *program = NULL;
    bf_auto_free char *uri = bf_xasprintf("nbds://%s/" NO_EXPORT, conf->address);
    bf_auto_process *process = NULL;
    int status = 0;

    if (bf_program_find("blockferry-copy", &program, err) < 0)
        return -1;
    const char *argv[] = {program, "--reconnect",        "0",
                          "--map", "/dev/null",          uri,
                          "null:", "--tls-certificates", conf->tls_directory,
                          NULL};
    const struct bf_process_spec spec = {.argv = argv};
    if (bf_process_start(&spec, &process, err) < 0 ||
        bf_process_wait(process, bf_deadline_in(TRY_MS), bf_platform_cancel_fd(platform), &status,
                        err) < 0)
        return -1;
    /* "There is no such export" is the answer of one that has let us in. */
    if (WIFEXITED(status) &&
        (WEXITSTATUS(status) == 0 ||
         WEXITSTATUS(status) == bf_kind_exit_code(bf_error_kind(BF_E_ENDPOINT_OPEN))))
        return 0;
    bf_auto_free char *words = last_words(process);
    return bf_fail(err, BF_E_TLS, 0, "%s", words);
}

int bf_mover_probe_once(struct bf_platform *platform, const struct bf_endpoint_spec *spec,
                        struct bf_error *err)
{
    bf_auto_free char *program = NULL;

    if (bf_program_find("blockferry-copy", &program, err) < 0)
        return -1;
    return ask(platform, program, spec, err);
}

int bf_mover_probe(struct bf_platform *platform, const struct bf_endpoint_spec *spec,
                   struct bf_deadline deadline, struct bf_error *err)
{
    bf_auto_free char *program = NULL;
    bf_auto_error pause = BF_ERROR_INIT;

    if (bf_program_find("blockferry-copy", &program, err) < 0)
        return -1;
    while (ask(platform, program, spec, err) < 0) {
        if (err->code == BF_E_CANCELLED)
            return -1;
        if (err->code == BF_E_DISK_CHANGED || bf_deadline_passed(deadline) ||
            bf_platform_pause(platform, PAUSE_MS, deadline, &pause) < 0) {
            bf_error_recode(err, BF_E_MOVER_NOT_SERVING);
            return bf_fail_in(err, "%s is not served", spec->uri);
        }
        bf_error_clear(err);
    }
    return 0;
}
