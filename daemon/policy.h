/* SPDX-License-Identifier: Apache-2.0 */
/* A replication's policy (when and how) and mapping (to what), from and to their JSON.
 *
 * One table of fields for each struct drives both directions, the checks and the defaults.  The
 * JSON's fields have the members' names, without the unit ("interval": "15m" is interval_s = 900).
 *
 * Errors: an unknown field or a wrong type is BF_E_BAD_JSON, a value that cannot be meant
 * BF_E_BAD_INPUT; both name the field ("policy.keep_points").
 * Null: for a field that can be none ("or NULL", "0: none" below) null means none, for the
 * others the default.
 * Ownership: init before use, done after it.  On failure the struct given is unchanged.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "connectors/source.h"
#include "daemon/window.h"
#include "guest/convert.h"

/* What may be done when the guest does not shut down when asked. */
enum bf_shutdown { BF_SHUTDOWN_ASK = 0, BF_SHUTDOWN_OFF, BF_SHUTDOWN_MAX };
/* What happens to the source when a cutover fails behind its shutdown. */
enum bf_on_failure { BF_ON_FAILURE_RESTART_SOURCE = 0, BF_ON_FAILURE_LEAVE_OFF, BF_ON_FAILURE_MAX };

/* How the disks get to the target: a replica by rounds, or the source's own volumes at the cutover
 * (daemon/adopt.h). */
enum bf_transfer { BF_TRANSFER_COPY = 0, BF_TRANSFER_ADOPT, BF_TRANSFER_MAX };

/* What has to show that a launch booted. */
enum bf_evidence {
    BF_EVIDENCE_TRY =
        0, /* console or guest agent; where neither says anything: unproven, a warning */
    BF_EVIDENCE_REQUIRE, /* one of the two */
    BF_EVIDENCE_CONSOLE,
    BF_EVIDENCE_AGENT,
    BF_EVIDENCE_NONE, /* nothing: that it was started is enough */
    BF_EVIDENCE_MAX,
};

/* What a launch's disks are first on (daemon/ladder.h). */
enum bf_ladder { BF_LADDER_VIRTIO = 0, BF_LADDER_SATA_FIRST, BF_LADDER_MAX };

struct bf_policy {
    enum bf_transfer transfer;     /* default copy */
    uint64_t interval_s;           /* between round starts; default 15 min; 0: none, manual only */
    struct bf_windows windows;     /* scheduled rounds start only inside; empty: any time */
    uint64_t keep_points;          /* default 3 */
    enum bf_quiesce quiesce;       /* default try */
    uint64_t verify_percent;       /* 0 none (default) ... 100 all; JSON "none", "all", "10%" */
    enum bf_convert_mode convert;  /* default auto */
    char *virtio_win;              /* absolute path, or NULL: the service's own */
    bool grow;                     /* last partitions and file systems fill larger volumes */
    bool serial_console;           /* kernels also write to the first serial line */
    enum bf_ladder boot_ladder;    /* default virtio */
    uint64_t shutdown_timeout_s;   /* default 5 min */
    enum bf_shutdown shutdown;     /* default ask */
    uint64_t boot_timeout_s;       /* default 5 min */
    enum bf_evidence evidence;     /* default try; JSON "boot_evidence" */
    char *boot_pattern;            /* see bf_boot_pattern_matches(), or NULL: the usual evidence */
    uint64_t rate_bytes;           /* a second, of all copies of a round together; 0: none */
    enum bf_on_failure on_failure; /* default restart-source */
    uint64_t drill_every;          /* a drill by itself after each n-th round; 0: none (default) */
    uint64_t retries;              /* of a failed round, before the replication fails; default 3 */
};

void bf_policy_init(struct bf_policy *policy); /* the defaults; they own nothing of the heap */
void bf_policy_done(struct bf_policy *policy);
/* The defaults and over them the fields given.  json NULL: the defaults. */
int bf_policy_from_json(struct json_object *json, struct bf_policy *ret_policy,
                        struct bf_error *err);
/* Over the policy the fields given (PATCH): each given field replaces the whole field. */
int bf_policy_merge(struct bf_policy *policy, struct json_object *patch, struct bf_error *err);
struct json_object *bf_policy_to_json(const struct bf_policy *policy); /* all fields */

/* Names of the source side to names of the target side. */
struct bf_network_map {
    char *source;
    char *target;
};

struct bf_mapping {
    char *storage;                   /* on the target, or NULL: the platform's default */
    struct bf_network_map *networks; /* sorted by source */
    size_t network_count;
    char *default_network;  /* for networks that `networks` does not name, or NULL */
    char *isolated_network; /* for drills, or NULL */
    char *machine_name;     /* on the target, or NULL: the source's */
    uint64_t cpus;          /* 0: as the source */
    uint64_t memory_bytes;  /* 0: as the source */
    char **disks;           /* keys, NULL-terminated, or NULL: all that can be replicated */
    char *flavor;           /* on targets that have such, or NULL: by cpus and memory */
    char **security_groups; /* of the nics there, NULL-terminated, or NULL: the default */
    char *disk_bus;         /* "virtio", "sata", or NULL: virtio */
};

void bf_mapping_init(struct bf_mapping *mapping); /* nothing mapped */
void bf_mapping_done(struct bf_mapping *mapping);
int bf_mapping_from_json(struct json_object *json, struct bf_mapping *ret_mapping,
                         struct bf_error *err);
int bf_mapping_merge(struct bf_mapping *mapping, struct json_object *patch, struct bf_error *err);
struct json_object *bf_mapping_to_json(const struct bf_mapping *mapping);
/* Borrowed; NULL: the mapping names none for it (source NULL: unknown there). */
const char *bf_mapping_network(const struct bf_mapping *mapping, const char *source);
bool bf_mapping_has_disk(const struct bf_mapping *mapping, const char *disk_key);

/* Check a boot pattern: POSIX extended, by line, at most 256 bytes; back references and repetition
 * beyond 1000 in total are refused, as they could stop the service.  `field` names it in the error.
 */
int bf_boot_pattern_check(const char *pattern, const char *field, struct bf_error *err);
/* Whether the console's text shows that the guest has booted.  pattern NULL: a login prompt,
 * systemd's targets, or a line BOOTMARK. */
bool bf_boot_pattern_matches(const char *pattern, const char *console);
/* The last line that shows it, for a report; NULL: it takes several.  Caller frees. */
char *bf_boot_pattern_line(const char *pattern, const char *console);

static inline void bf_policy_done_at(struct bf_policy *at)
{
    bf_policy_done(at);
}
#define bf_auto_policy __attribute__((cleanup(bf_policy_done_at))) struct bf_policy
static inline void bf_mapping_done_at(struct bf_mapping *at)
{
    bf_mapping_done(at);
}
#define bf_auto_mapping __attribute__((cleanup(bf_mapping_done_at))) struct bf_mapping
