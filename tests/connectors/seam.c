/* SPDX-License-Identifier: Apache-2.0 */
/* Drives the seam's functions from a test: one JSON object a line in, one out.
 *
 *   {"do": "snapshot", "p": "source", "machine": "...", ...}
 *   {"ok": true, ...}   or   {"ok": false, "error": {"code", "message", ...}}
 *
 * "p" names a platform handle that "open" made.  Open disks and volumes are numbered by "handle".
 * What the functions need and give is at their declarations; names here follow them.
 */
#include "seam.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

struct seam_state seam_state;

/* --- arguments and results --- */

const char *seam_text(const struct seam_call *call, const char *key)
{
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(call->in, key, &value) || !value)
        return NULL;
    return json_object_get_string(value);
}

const char *seam_need(const struct seam_call *call, const char *key)
{
    const char *value = seam_text(call, key);

    if (!value) {
        fprintf(stderr, "seam: %s: no \"%s\"\n", seam_text(call, "do"), key);
        exit(2);
    }
    return value;
}

uint64_t seam_number(const struct seam_call *call, const char *key, uint64_t otherwise)
{
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(call->in, key, &value) || !value)
        return otherwise;
    return json_object_get_uint64(value);
}

struct json_object *seam_object(const struct seam_call *call, const char *key)
{
    struct json_object *value = NULL;

    json_object_object_get_ex(call->in, key, &value);
    return value;
}

void seam_put_text(struct seam_call *call, const char *key, char *value)
{
    bf_json_add_string(call->out, key, value);
    free(value);
}

void seam_put_spec(struct seam_call *call, const struct bf_endpoint_spec *spec, size_t handle)
{
    bf_json_add_u64(call->out, "handle", handle);
    bf_json_add_string(call->out, "uri", spec->uri);
    bf_json_add_string(call->out, "format", spec->format);
    bf_json_add_string(call->out, "map", bf_map_kind_to_string(spec->map));
    bf_json_add_string(call->out, "map_name", spec->map_name);
    bf_json_add_string(call->out, "tls", spec->tls_directory);
    bf_json_add_bool(call->out, "reads_as_zero", spec->reads_as_zero);
    bf_json_add_u64(call->out, "size", spec->size_bytes);
}

size_t seam_free_handle(void **table)
{
    for (size_t i = 0; i < SEAM_HANDLES_MAX; i++) {
        if (!table[i])
            return i;
    }
    abort();
}

/* --- dispatch --- */

static const struct seam_command *const tables[] = {seam_platform_commands, seam_source_commands,
                                                    seam_target_commands};

static const struct seam_command *find_command(const char *verb)
{
    for (size_t i = 0; i < bf_array_length(tables); i++) {
        for (const struct seam_command *at = tables[i]; at->name; at++) {
            if (bf_streq(at->name, verb))
                return at;
        }
    }
    return NULL;
}

static struct bf_platform *find_platform(const char *name)
{
    for (size_t i = 0; i < bf_array_length(seam_state.platforms); i++) {
        if (seam_state.platforms[i].platform && bf_streq(seam_state.platforms[i].name, name))
            return seam_state.platforms[i].platform;
    }
    return NULL;
}

static int dispatch(struct seam_call *call, struct bf_error *err)
{
    const char *verb = seam_need(call, "do");

    call->platform = find_platform(seam_text(call, "p"));
    if (!call->platform && strcmp(verb, "open") != 0) {
        fprintf(stderr, "seam: %s: no such platform\n", verb);
        exit(2);
    }
    const struct seam_command *command = find_command(verb);
    if (!command) {
        fprintf(stderr, "seam: unknown command %s\n", verb);
        exit(2);
    }
    return command->run(call, err);
}

static void close_all(void)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    for (size_t i = 0; i < SEAM_HANDLES_MAX; i++) {
        bf_source_close_disk(seam_state.disks[i]);
        (void)bf_target_close_volume(seam_state.volumes[i], &ignored);
        bf_error_clear(&ignored);
    }
    for (size_t i = 0; i < bf_array_length(seam_state.platforms); i++) {
        bf_platform_close(seam_state.platforms[i].platform);
        free(seam_state.platforms[i].name);
    }
}

int main(void)
{
    bf_auto_free char *line = NULL;
    size_t capacity = 0;
    ssize_t length;

    signal(SIGPIPE, SIG_IGN); /* as the daemon: libvirt writes to a libvirtd that was killed */
    bf_log_open("seam", BF_LOG_DEBUG);
    while ((length = getline(&line, &capacity, stdin)) > 0) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_json *in = NULL;
        bf_auto_json *out = json_object_new_object();
        struct seam_call call = {.out = out};
        if (bf_json_parse(line, (size_t)length, &in, &err) < 0) {
            fprintf(stderr, "seam: %s\n", err.message);
            return 2;
        }
        call.in = in;
        int rc = dispatch(&call, &err);
        bf_json_add_bool(out, "ok", rc == 0);
        if (rc < 0)
            json_object_object_add(out, "error", bf_json_error(&err));
        puts(bf_json_text(out));
        fflush(stdout);
    }
    close_all();
    return 0;
}
