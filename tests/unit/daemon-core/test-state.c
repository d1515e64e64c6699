/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine's tables: every state can be reached and, unless final, left; texts are read
 * back; verbs exist where the way on needs them. */
#include "daemon/state.h"

#include "tap.h"

static void test_texts(void)
{
    for (unsigned i = 0; i < BF_STATE_MAX; i++) {
        struct bf_error err = BF_ERROR_INIT;
        enum bf_state state = BF_STATE_MAX;
        const char *text = bf_state_to_string((enum bf_state)i);

        ok(bf_state_from_string(text, &state, &err) == 0 && state == i, "state %s is read back",
           text);
    }
    for (unsigned i = 0; i < BF_VERB_MAX; i++) {
        struct bf_error err = BF_ERROR_INIT;
        enum bf_verb verb = BF_VERB_MAX;
        const char *text = bf_verb_to_string((enum bf_verb)i);

        ok(bf_verb_from_string(text, &verb, &err) == 0 && verb == i, "verb %s is read back", text);
    }
    struct bf_error err = BF_ERROR_INIT;
    enum bf_state state = BF_STATE_IDLE;

    ok(bf_state_from_string("Idle", &state, &err) == -1, "texts are exact");
    is_error(&err, BF_E_BAD_INPUT, "an unknown state");
    ok(state == BF_STATE_IDLE, "the output is untouched on failure");
}

static void test_reachable(void)
{
    bool reached[BF_STATE_MAX] = {[BF_STATE_NEW] = true};
    bool more = true;

    while (more) {
        more = false;
        for (unsigned from = 0; from < BF_STATE_MAX; from++) {
            for (unsigned to = 0; to < BF_STATE_MAX && reached[from]; to++) {
                if (!reached[to] && bf_state_can_become((enum bf_state)from, (enum bf_state)to))
                    reached[to] = more = true;
            }
        }
    }
    for (unsigned i = 0; i < BF_STATE_MAX; i++)
        ok(reached[i], "%s can be reached from new", bf_state_to_string((enum bf_state)i));
}

static void test_leaveable(void)
{
    for (unsigned i = 0; i < BF_STATE_MAX; i++) {
        enum bf_state state = (enum bf_state)i;
        bool verbs = false;

        ok(bf_state_is_final(state) == (state == BF_STATE_DONE), "%s is %sfinal",
           bf_state_to_string(state), state == BF_STATE_DONE ? "" : "not ");
        for (unsigned v = 0; v < BF_VERB_MAX; v++)
            verbs = verbs || bf_state_allows(state, (enum bf_verb)v);
        ok(verbs, "%s allows something", bf_state_to_string(state));
    }
}

static void test_rules(void)
{
    ok(!bf_state_allows(BF_STATE_CUTOVER, BF_VERB_REMOVE), "a cutover in progress is not removed");
    ok(!bf_state_allows(BF_STATE_CONFIRM_PENDING, BF_VERB_REMOVE),
       "an open cutover is confirmed or rolled back first");
    ok(!bf_state_allows(BF_STATE_CONFIRM_PENDING, BF_VERB_SYNC),
       "no round while the machine runs on the target");
    ok(!bf_state_allows(BF_STATE_DONE, BF_VERB_SYNC), "no round after confirm");
    ok(!bf_state_can_become(BF_STATE_IDLE, BF_STATE_CONFIRM_PENDING),
       "confirm-pending only by a cutover");
    ok(!bf_state_can_become(BF_STATE_BLOCKED, BF_STATE_SEEDING), "blocked does not seed");
    for (unsigned i = 0; i < BF_STATE_MAX; i++) {
        if (bf_state_allows((enum bf_state)i, BF_VERB_PAUSE))
            ok(bf_state_can_become((enum bf_state)i, BF_STATE_PAUSED), "%s can pause as it allows",
               bf_state_to_string((enum bf_state)i));
        /* While a round runs a cutover may be asked for and waits: it begins from idle. */
        if (bf_state_allows((enum bf_state)i, BF_VERB_CUTOVER) && i != BF_STATE_SYNCING)
            ok(bf_state_can_become((enum bf_state)i, BF_STATE_CUTOVER),
               "%s can cut over as it allows", bf_state_to_string((enum bf_state)i));
    }
}

static void test_message(void)
{
    struct bf_error err = BF_ERROR_INIT;
    struct bf_replication_row row = {.name = strdup("web"), .state = strdup("done")};

    ok(bf_state_check_verb(&row, BF_VERB_SYNC, &err) == -1, "done refuses sync");
    has_string(err.message, "allowed: remove", "the message names what is allowed");
    is_error(&err, BF_E_STATE_FORBIDS, "and the code says so");
    free(row.name);
    free(row.state);
}

int main(void)
{
    test_texts();
    test_reachable();
    test_leaveable();
    test_rules();
    test_message();
    return done();
}
