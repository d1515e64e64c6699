/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/loop.h"
#include "daemon/service_private.h"

static const char *const state_texts[] = {
#define X(id, text) [BF_STATE_##id] = text,
    BF_STATES(X)
#undef X
};

static const char *const verb_texts[] = {
#define X(id, text) [BF_VERB_##id] = text,
    BF_VERBS(X)
#undef X
};

/* clang-format off */
#define S(id) (1u << BF_STATE_##id)

/* From each state, the states it can become. */
static const unsigned transitions[BF_STATE_MAX] = {
    [BF_STATE_NEW]             = S(CHECKED) | S(BLOCKED) | S(FAILED),
    [BF_STATE_CHECKED]         = S(BLOCKED) | S(SEEDING) | S(PAUSED) | S(CUTOVER) | S(FAILED),
    [BF_STATE_BLOCKED]         = S(CHECKED) | S(FAILED),
    [BF_STATE_SEEDING]         = S(IDLE) | S(CHECKED) | S(PAUSED) | S(FAILED),
    [BF_STATE_IDLE]            = S(SYNCING) | S(PAUSED) | S(CUTOVER) | S(FAILED),
    [BF_STATE_SYNCING]         = S(IDLE) | S(PAUSED) | S(ROLLED_BACK) | S(FAILED),
    [BF_STATE_PAUSED]          = S(IDLE) | S(CHECKED) | S(CUTOVER) | S(FAILED),
    [BF_STATE_CUTOVER]         = S(CONFIRM_PENDING) | S(CHECKED) | S(IDLE) | S(PAUSED) |
                                 S(ROLLED_BACK) | S(FAILED),
    [BF_STATE_CONFIRM_PENDING] = S(DONE) | S(ROLLED_BACK) | S(FAILED),
    [BF_STATE_DONE]            = 0,
    [BF_STATE_ROLLED_BACK]     = S(SYNCING) | S(PAUSED) | S(CUTOVER) | S(FAILED),
    [BF_STATE_FAILED]          = S(CHECKED) | S(BLOCKED) | S(SEEDING) | S(IDLE) | S(SYNCING) |
                                 S(PAUSED) | S(CUTOVER) | S(ROLLED_BACK) | S(CONFIRM_PENDING),
};

#define V(id) (1u << BF_VERB_##id)
#define V_POINTS (V(DRILL) | V(DRILL_END))

/* What an admin may ask for.  "remove" waits for no job: cancel comes first.  While a round runs
 * "sync" means that one, and "cutover" waits for its end. */
static const unsigned verbs[BF_STATE_MAX] = {
    [BF_STATE_NEW]             = V(CHECK) | V(CANCEL) | V(REMOVE),
    [BF_STATE_CHECKED]         = V(CHECK) | V(SYNC) | V(PAUSE) | V(CANCEL) | V(CUTOVER) |
                                 V(REMOVE),
    [BF_STATE_BLOCKED]         = V(CHECK) | V(CANCEL) | V(REMOVE),
    [BF_STATE_SEEDING]         = V(SYNC) | V(PAUSE) | V(CANCEL),
    [BF_STATE_IDLE]            = V(CHECK) | V(SYNC) | V(PAUSE) | V(CANCEL) | V_POINTS |
                                 V(CUTOVER) | V(REMOVE),
    [BF_STATE_SYNCING]         = V(SYNC) | V(PAUSE) | V(CANCEL) | V_POINTS | V(CUTOVER),
    [BF_STATE_PAUSED]          = V(CHECK) | V(RESUME) | V(CANCEL) | V_POINTS | V(CUTOVER) |
                                 V(REMOVE),
    [BF_STATE_CUTOVER]         = V(CANCEL),
    [BF_STATE_CONFIRM_PENDING] = V(CONFIRM) | V(ROLLBACK) | V(CANCEL),
    [BF_STATE_DONE]            = V(REMOVE),
    [BF_STATE_ROLLED_BACK]     = V(CHECK) | V(SYNC) | V(PAUSE) | V(CANCEL) | V_POINTS |
                                 V(CUTOVER) | V(REMOVE),
    [BF_STATE_FAILED]          = V(CHECK) | V(SYNC) | V(PAUSE) | V(CANCEL) | V_POINTS |
                                 V(CUTOVER) | V(CONFIRM) | V(ROLLBACK) | V(REMOVE),
};
/* clang-format on */

const char *bf_state_to_string(enum bf_state state)
{
    assert(state < BF_STATE_MAX);
    return state_texts[state];
}

int bf_state_from_string(const char *text, enum bf_state *ret_state, struct bf_error *err)
{
    for (unsigned i = 0; i < BF_STATE_MAX; i++) {
        if (bf_streq(text, state_texts[i])) {
            *ret_state = (enum bf_state)i;
            return 0;
        }
    }
    return bf_fail(err, BF_E_BAD_INPUT, 0, "no state is called '%s'", text ? text : "");
}

enum bf_state bf_state_of(const struct bf_replication_row *row)
{
    bf_auto_error err = BF_ERROR_INIT;
    enum bf_state state = BF_STATE_FAILED;

    /* A state of a text we do not know can only come from a damaged store: failed is the state that
     * lets an admin do something. */
    (void)bf_state_from_string(row->state, &state, &err);
    return state;
}

bool bf_state_can_become(enum bf_state from, enum bf_state to)
{
    assert(from < BF_STATE_MAX && to < BF_STATE_MAX);
    return transitions[from] & (1u << to);
}

bool bf_state_is_final(enum bf_state state)
{
    assert(state < BF_STATE_MAX);
    return transitions[state] == 0;
}

const char *bf_verb_to_string(enum bf_verb verb)
{
    assert(verb < BF_VERB_MAX);
    return verb_texts[verb];
}

int bf_verb_from_string(const char *text, enum bf_verb *ret_verb, struct bf_error *err)
{
    for (unsigned i = 0; i < BF_VERB_MAX; i++) {
        if (bf_streq(text, verb_texts[i])) {
            *ret_verb = (enum bf_verb)i;
            return 0;
        }
    }
    return bf_fail(err, BF_E_UNKNOWN_ROUTE, 0, "no verb is called '%s'", text ? text : "");
}

bool bf_state_allows(enum bf_state state, enum bf_verb verb)
{
    assert(state < BF_STATE_MAX && verb < BF_VERB_MAX);
    return verbs[state] & (1u << verb);
}

int bf_state_check_verb(const struct bf_replication_row *row, enum bf_verb verb,
                        struct bf_error *err)
{
    enum bf_state state = bf_state_of(row);
    bf_auto_buf allowed = {0};

    if (bf_state_allows(state, verb))
        return 0;
    for (unsigned i = 0; i < BF_VERB_MAX; i++) {
        if (bf_state_allows(state, (enum bf_verb)i))
            bf_buf_addf(&allowed, "%s%s", allowed.length ? ", " : "", verb_texts[i]);
    }
    return bf_fail(err, BF_E_STATE_FORBIDS, 0, "%s is %s, which does not allow %s; allowed: %s",
                   row->name, row->state, verb_texts[verb],
                   allowed.length ? allowed.text : "nothing");
}

static int write_change(struct bf_service *service, struct bf_replication_row *row,
                        enum bf_state from, enum bf_state to, const struct bf_error *why,
                        struct bf_error *err)
{
    bf_auto_json *data = json_object_new_object();
    const char *level = to == BF_STATE_FAILED ? "error" : why ? "warning" : "info";

    if (bf_store_replication_update(service->store, row, err) != 0)
        return -1;
    if (from == to)
        return 0;
    bf_json_add_string(data, "from", state_texts[from]);
    bf_json_add_string(data, "to", state_texts[to]);
    if (why)
        json_object_object_add(data, "error", bf_json_error(why));
    return bf_service_event(service, row->name, level, "state", data, err, "%s is %s%s%s",
                            row->name, state_texts[to], why ? ": " : "", why ? why->message : "");
}

int bf_state_set(struct bf_service *service, struct bf_replication_row *row, enum bf_state to,
                 const struct bf_error *why, struct bf_error *err)
{
    enum bf_state from = bf_state_of(row);

    bf_assert_main();
    assert(from == to || bf_state_can_become(from, to));
    assert(to != BF_STATE_FAILED || why);

    free(row->error);
    row->error = NULL;
    if (why) {
        bf_auto_json *text = bf_json_error(why);

        row->error = bf_xstrdup(bf_json_text(text));
    }
    if (from != to) {
        free(row->state);
        row->state = bf_xstrdup(state_texts[to]);
        row->changed_us = bf_utc_us();
    }
    if (bf_store_begin(service->store, err) != 0)
        return -1;
    if (write_change(service, row, from, to, why, err) != 0) {
        bf_store_rollback(service->store);
        return -1;
    }
    return bf_store_commit(service->store, err);
}
