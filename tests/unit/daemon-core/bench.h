/* SPDX-License-Identifier: Apache-2.0 */
/* A whole service on the fake platform, in a process of its own: the parent forks, the child runs
 * the service and may be killed, the parent looks at what is left.
 *
 * Everything lies below one directory: "fake" (the platform), "state", "run".
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "daemon/service_private.h"

#define BENCH_NAME "fake"

/* Makes the directory with a machine of two disks of 1 MiB; prints where.  One per program. */
const char *bench_directory(void);
/* Back to nothing but the machine. */
void bench_reset(void);
/* Keep what is there now as `name`, and bring it back. */
void bench_save(const char *name);
void bench_restore(const char *name);
void bench_remove(void);
/* Write over some of a disk of the machine. */
void bench_write(const char *key, unsigned char byte);
bool bench_power_is(const char *text);

/* Runs in the child, on the main loop thread; the service has been started. */
typedef void bench_fn(struct bf_service *service);

enum bench_end { BENCH_FINE, BENCH_KILLED, BENCH_BAD };
/* Fork, open, start, fn, stop.  kill_at: SIGKILL at this boundary of a job (bf_job_probe), 0:
 * never. ret_probes (may be NULL): how many boundaries there were. */
enum bench_end bench_run(bench_fn *fn, unsigned kill_at, unsigned *ret_probes);

/* --- in the child --- */

/* Turn the loop until no job runs and the ledger has settled. */
void bench_quiet(struct bf_service *service);
/* Ends the child as bad, with a message, unless it holds. */
void bench_check(bool holds, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Platform, replication, first round. */
void bench_replicate(struct bf_service *service);
/* A verb, and wait.  `body` JSON text or NULL. */
void bench_verb(struct bf_service *service, const char *verb, const char *body);
/* A change of policy or mapping, as JSON text. */
void bench_change(struct bf_service *service, const char *patch);
/* Both disks of the machine are where it has them, or neither. */
void bench_check_home(bool there);
/* The verb's error, which must come. */
enum bf_error_code bench_refused(struct bf_service *service, const char *verb, const char *body);
const char *bench_state(struct bf_service *service); /* "" when it is gone */
/* A field of the replication's JSON, as text; "" when null. */
const char *bench_field(struct bf_service *service, const char *key);
/* What the platform holds and what the ledger says are the same, and nothing is under way. */
void bench_check_ledger(struct bf_service *service);
/* The newest point holds the machine's bytes. */
void bench_check_bytes(struct bf_service *service);
