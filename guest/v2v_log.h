/* SPDX-License-Identifier: Apache-2.0 */
/* What virt-v2v-in-place said, and what it means.
 *
 * virt-v2v-in-place ends with status 1 for every failure and with 0 even when it found no
 * driver for the guest, so the verdict is taken from its messages.  They are read in the
 * form of --machine-readable=file: one JSON object a line, {"message", "timestamp", "type"},
 * type being message, info, warning or error; that form is neither wrapped nor translated.
 * Texts are those of virt-v2v 2.2.0 (Debian 12).
 *
 * Messages may quote what the guest's disk holds: they are untrusted, kept bounded, and
 * nothing but the table of known texts is decided by them.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum bf_v2v_drivers {
    BF_V2V_DRIVERS_UNSAID = 0,
    BF_V2V_DRIVERS_PRESENT,
    BF_V2V_DRIVERS_MISSING,
};

struct bf_v2v_log {
    enum bf_v2v_drivers drivers;
    char *guest_os;               /* "Debian GNU/Linux 12 (bookworm)"; NULL: not reached */
    char *error;                  /* the last error, whole; NULL: none */
    struct json_object *warnings; /* array of texts; NULL: none */
};

/* Read all lines; lines that are no such object are skipped (a killed run cuts the last one). */
void bf_v2v_log_parse(const char *text, size_t length, struct bf_v2v_log *ret_log);
void bf_v2v_log_done(struct bf_v2v_log *log);

/* 0: the guest has virtio drivers now.  Else the catalogue's error for what happened;
 * `output` (the tail of the program's own output, may be NULL) becomes its evidence, and is looked
 * at when there is no error message: the end of a question for a key is told there only. */
int bf_v2v_verdict(const struct bf_v2v_log *log, int wait_status, const char *output,
                   struct bf_error *err);

#define bf_auto_v2v_log __attribute__((cleanup(bf_v2v_log_done))) struct bf_v2v_log
