/* SPDX-License-Identifier: Apache-2.0 */
/* The service as the API sees it: reads as JSON, verbs that start jobs.
 *
 * Threads: the main loop thread; no call blocks on a platform.  What has to ask a
 * platform is a "question": it runs on a worker thread and answers by callback
 * on the main loop thread.
 * Ownership: returned JSON belongs to the caller.
 * The JSON shapes are docs/openapi.yaml's.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct bf_config;
struct bf_loop;
struct bf_seal;
struct bf_service;
struct bf_store;

/* All borrowed; they outlive the service. */
int bf_service_new(struct bf_loop *loop, struct bf_store *store, struct bf_seal *seal,
                   const struct bf_config *config, struct bf_service **ret_service,
                   struct bf_error *err);
/* Take up what the store knows: open jobs, schedule, janitor. */
int bf_service_start(struct bf_service *service, struct bf_error *err);
/* End jobs where they are (the next start takes them up) and questions; waits up to the deadline,
 * turning the loop.  False: some thread did not end in time; then nothing that it may use can be
 * freed, and only the end of the process stops it. */
bool bf_service_stop(struct bf_service *service, uint64_t timeout_ms);
void bf_service_free(struct bf_service *service);

/* --- reads (from the store and live progress) --- */
int bf_service_status(struct bf_service *service, struct json_object **ret, struct bf_error *err);
int bf_service_platforms(struct bf_service *service, struct json_object **ret,
                         struct bf_error *err);
int bf_service_platform(struct bf_service *service, const char *name, struct json_object **ret,
                        struct bf_error *err);
int bf_service_replications(struct bf_service *service, struct json_object **ret,
                            struct bf_error *err);
int bf_service_replication(struct bf_service *service, const char *name, struct json_object **ret,
                           struct bf_error *err);
int bf_service_rounds(struct bf_service *service, const char *name, uint64_t limit,
                      struct json_object **ret, struct bf_error *err);
struct bf_round_totals; /* daemon/store/store.h */
int bf_service_round_totals(struct bf_service *service, const char *name,
                            struct bf_round_totals *ret_totals, struct bf_error *err);
int bf_service_points(struct bf_service *service, const char *name, struct json_object **ret,
                      struct bf_error *err);
int bf_service_launches(struct bf_service *service, const char *name, struct json_object **ret,
                        struct bf_error *err);
int bf_service_jobs(struct bf_service *service, const char *name, uint64_t limit,
                    struct json_object **ret, struct bf_error *err);
int bf_service_ledger(struct bf_service *service, int all, struct json_object **ret,
                      struct bf_error *err);
int bf_service_events(struct bf_service *service, const char *replication, uint64_t after,
                      uint64_t limit, struct json_object **ret, struct bf_error *err);
/* The id behind which the newest `count` events are (of one replication); 0: there are not more. */
int bf_service_events_last(struct bf_service *service, const char *replication, uint64_t count,
                           uint64_t *ret_after, struct bf_error *err);
/* {"plan": object or null, "point": n or null, "current": bool}: current, when its inputs are. */
int bf_service_plan(struct bf_service *service, const char *name, struct json_object **ret,
                    struct bf_error *err);
int bf_service_report(struct bf_service *service, const char *name, struct json_object **ret,
                      struct bf_error *err);

/* --- changes without a platform --- */
/* body: {"name","type","url","user"?,"password"?,"options"?}; the password is sealed at once.  What
 * is wrong with the options by themselves is told now, what the platform says of them by a test. */
int bf_service_platform_add(struct bf_service *service, struct json_object *body,
                            struct json_object **ret, struct bf_error *err);
/* body: {"url"?,"user"?,"password"?,"options"?,"yes"?}; what is not given stays, options are merged
 * by key and null takes one back.  Another url of a platform in use needs "yes", as what the ledger
 * names is looked for there: BF_E_CONFIRM_NEEDED.  A stored password is not sent to another address
 * or by other options: it has to be given again with them.  Running jobs keep what they began with.
 */
int bf_service_platform_change(struct bf_service *service, const char *name,
                               struct json_object *body, struct json_object **ret,
                               struct bf_error *err);
int bf_service_platform_remove(struct bf_service *service, const char *name, struct bf_error *err);
/* body: {"policy":{...}} and/or {"mapping":{...}}, merged by field. */
int bf_service_replication_change(struct bf_service *service, const char *name,
                                  struct json_object *body, struct json_object **ret,
                                  struct bf_error *err);

/* Rate limits.  The list: [{"scope","name","limits","limit_now","used","copies"}] of the service,
 * of platforms and of replications that have some, the service's first.  Set: {"scope":
 * "service"|"platform"|"replication","name"?,"limits":[...]}, an empty array: none any more. */
int bf_service_limits(struct bf_service *service, struct json_object **ret, struct bf_error *err);
int bf_service_limits_set(struct bf_service *service, struct json_object *body,
                          struct json_object **ret, struct bf_error *err);

/* --- verbs: check the state, start a job, return {"job":id,"state":...} at once ---
 * verb: "check", "sync", "pause", "resume", "cancel", "drill", "drill-end", "cutover",
 * "confirm", "rollback", "remove".  body may be NULL. */
int bf_service_verb(struct bf_service *service, const char *name, const char *verb,
                    struct json_object *body, struct json_object **ret, struct bf_error *err);

/* --- questions: answered later on the main loop, exactly once --- */
typedef void bf_answer_fn(struct json_object *answer, struct bf_error *err, void *user);
/* err set: answer NULL.  The callee takes over neither.  kind and what it needs:
 *   "platform-test" {"name"} | "machines" {"platform"} | "machine" {"platform","machine"}
 *   "power" {"platform","machine"} | "resources" {"platform"} | "replicate" {the POST /replications
 * body}: looks the machine up, prechecks it and makes the replication | "reconcile" {"platform"?}:
 * what carries our tag there and is not in the ledger
 */
int bf_service_ask(struct bf_service *service, const char *kind, struct json_object *body,
                   bf_answer_fn *fn, void *user, struct bf_error *err);

/* --- live events: called on the main loop thread for each event stored and for progress --- */
typedef void bf_event_fn(struct json_object *event, void *user);
unsigned bf_service_subscribe(struct bf_service *service, bf_event_fn *fn, void *user);
void bf_service_unsubscribe(struct bf_service *service, unsigned id);
