/* SPDX-License-Identifier: Apache-2.0 */
/* When a removal that failed is tried again. */
#include "daemon/patience.h"

#include "base/text.h"
#include "tests/unit/tap.h"

static bool keep_b(const char *id, void *user)
{
    (void)user;
    return bf_streq(id, "b");
}

int main(void)
{
    struct bf_patience patience = {0};
    uint64_t now = 1000;

    ok(bf_patience_is_due(&patience, "a", now), "what never failed may be tried");
    ok(bf_patience_next(&patience, now) == UINT64_MAX, "nothing is waited for");

    bf_patience_failed(&patience, "a", now);
    ok(!bf_patience_is_due(&patience, "a", now + BF_PATIENCE_FIRST_MS - 1), "not at once");
    ok(bf_patience_is_due(&patience, "a", now + BF_PATIENCE_FIRST_MS), "after the first pause");
    ok(bf_patience_is_due(&patience, "b", now), "another one does not wait for it");
    ok(bf_patience_next(&patience, now + 500) == BF_PATIENCE_FIRST_MS - 500, "the time left");
    ok(bf_patience_next(&patience, now + 9999) == 0, "overdue is now");

    bf_patience_failed(&patience, "a", now);
    bf_patience_failed(&patience, "b", now);
    ok(bf_patience_next(&patience, now) == BF_PATIENCE_FIRST_MS, "the next is the newer one");
    bf_patience_forget(&patience, "b");
    ok(bf_patience_next(&patience, now) == 2 * BF_PATIENCE_FIRST_MS, "the older one's has doubled");

    for (int i = 0; i < 40; i++)
        bf_patience_failed(&patience, "a", now);
    ok(bf_patience_next(&patience, now) == BF_PATIENCE_MAX_MS, "there is a longest pause");

    bf_patience_failed(&patience, "b", now);
    bf_patience_failed(&patience, "c", now);
    bf_patience_forget_due(&patience, now + BF_PATIENCE_FIRST_MS, keep_b, NULL);
    ok(patience.count == 2, "of those that are due one is kept, and those that are not");
    bf_patience_failed(&patience, "b", now);
    ok(!bf_patience_is_due(&patience, "b", now + BF_PATIENCE_FIRST_MS), "the one that was wanted");
    bf_patience_done(&patience);
    ok(bf_patience_is_due(&patience, "a", now), "all is forgotten");
    return done();
}
