/* SPDX-License-Identifier: Apache-2.0 */
/* Live numbers of a job: written by its thread, read by the main thread.
 *
 * Threads: any; the lock is inside and is never held across a call out.
 */
#pragma once

#include <json-c/json.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { BF_PROGRESS_DISKS_MAX = 64 };

struct bf_disk_progress {
    char key[64];
    uint64_t size_bytes;
    uint64_t to_send_bytes;
    uint64_t done_bytes;
    uint64_t sent_bytes;
    uint64_t zero_bytes;
    uint64_t verified_bytes;
    uint64_t rate; /* bytes a second, now */
    uint64_t eta_s;
};

struct bf_progress {
    pthread_mutex_t lock;
    unsigned step;     /* index in the kind's table */
    bool undoing;      /* steps go backwards */
    uint64_t since_ms; /* monotonic: when the step began */
    char line[200];    /* a word for people; "" = none */
    struct bf_disk_progress disks[BF_PROGRESS_DISKS_MAX];
    unsigned disk_count;
    uint64_t version; /* rises with every change */
};

void bf_progress_init(struct bf_progress *progress);
void bf_progress_done(struct bf_progress *progress);
/* A new step begins: the line and the disks of the one before are forgotten. */
void bf_progress_step(struct bf_progress *progress, unsigned step, bool undoing);
void bf_progress_line(struct bf_progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Put the numbers of one disk, found by its key. */
void bf_progress_disk(struct bf_progress *progress, const struct bf_disk_progress *disk);
/* {"done_bytes","to_send_bytes","rate","eta_s","disks":[...],"line"} */
struct json_object *bf_progress_json(struct bf_progress *progress);
