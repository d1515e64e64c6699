/* SPDX-License-Identifier: Apache-2.0 */
/* A source that goes off after its cutover has failed.
 *
 * A guest that was asked to shut down and took longer than the policy allows still has the request:
 * it may go off a minute after the source was given back, and then nobody would start it.  So such
 * a source is looked at for BF_LATE_SHUTDOWN_S more, by questions "power", and started by a job of
 * kind "start-source" when it is found off.  A job, because that excludes every cutover meanwhile:
 * never two running machines.
 *
 * What is to be watched is in the store, in the context of the cutover's job: "asked" is true from
 * before the request until the source is seen off or the watch ends.  So a restart takes it up
 * again.  The cutover that touched the source last counts, if it failed.  While a job of the
 * replication runs there is no look, and the first one after it counts as one in time.
 *
 * The watch ends: when the source was started, when the time is over, by a later cutover that
 * touches the source, by a rollback that is not to start it, by cancelling the job, and with the
 * replication.  A source that is found off when the service itself starts only after the time is
 * not started any more; an event says so.
 *
 * What cannot be told apart: an admin who switches the source off within that time, from a guest
 * that does it on our request.
 *
 * Threads: the main loop thread.
 */
#pragma once

#include <json-c/json.h>

#include "base/error.h"
#include "daemon/store/store.h"

#define BF_LATE_SHUTDOWN_S (15 * 60)

struct bf_service;

/* Take up what the store knows; after the jobs were. */
int bf_late_shutdown_start(struct bf_service *service, struct bf_error *err);
void bf_late_shutdown_stop(struct bf_service *service); /* no look any more */
void bf_late_shutdown_free(struct bf_service *service); /* when no question is open */
/* In the end() of a cutover that failed, with its context. */
int bf_late_shutdown_watch(struct bf_service *service, const struct bf_replication_row *row,
                           struct json_object *context, struct bf_error *err);
/* The source is not to be started.  Not watched: success. */
int bf_late_shutdown_end(struct bf_service *service, const char *replication_id,
                         struct bf_error *err);
