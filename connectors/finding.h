/* SPDX-License-Identifier: Apache-2.0 */
/* Precheck findings: "<id> block|warn|info: found, needed, why, fix". */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

enum bf_severity { BF_SEVERITY_INFO = 0, BF_SEVERITY_WARN, BF_SEVERITY_BLOCK, BF_SEVERITY_MAX };

struct bf_finding {
    char *id; /* "libvirt-raw-disk": stable, documented in docs/platforms/ */
    enum bf_severity severity;
    char *subject; /* which disk, nic, ...; NULL: the machine or platform */
    char *found;   /* with numbers and names */
    char *needed;
    char *why;
    char *fix;
};

struct bf_findings {
    struct bf_finding *items;
    size_t count;
    size_t capacity;
};

/* Adds a copy.  `subject` may be NULL. */
void bf_findings_add(struct bf_findings *findings, enum bf_severity severity, const char *id,
                     const char *subject, const char *found, const char *needed, const char *why,
                     const char *fix);
bool bf_findings_block(const struct bf_findings *findings); /* any of severity block */
void bf_findings_done(struct bf_findings *findings);
struct json_object *bf_findings_to_json(const struct bf_findings *findings);
const char *bf_severity_to_string(enum bf_severity severity);
#define bf_auto_findings __attribute__((cleanup(bf_findings_done))) struct bf_findings
