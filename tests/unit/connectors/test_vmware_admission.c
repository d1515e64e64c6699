/* SPDX-License-Identifier: Apache-2.0 */
/* Who may read how many disks at a time. */
#include <pthread.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/admission.h"
#include "tests/unit/connectors/skeleton.h"
#include "tests/unit/tap.h"

static struct bf_platform *new_platform(void)
{
    struct bf_platform *platform = NULL;
    struct bf_error err = BF_ERROR_INIT;
    const struct bf_platform_conf conf = {
        .name = "p", .type = "skeleton", .url = "/tmp", .work_directory = "/tmp"};

    if (bf_platform_open_with(&skeleton_ops, &conf, &platform, &err) < 0)
        abort();
    return platform;
}

static struct bf_platform *platform;

static struct bf_vmware_admission asking(const char *host, uint64_t wait_ms, bool holding)
{
    return (struct bf_vmware_admission){.server = "vc",
                                        .host = host,
                                        .per_host = 2,
                                        .in_all = 3,
                                        .wait_ms = wait_ms,
                                        .holding = holding};
}

/* NULL: full. */
static struct bf_vmware_ticket *ticket_for(const char *host, bool holding)
{
    struct bf_vmware_admission admission = asking(host, 200, holding);
    struct bf_vmware_ticket *ticket = NULL;
    struct bf_error err = BF_ERROR_INIT;

    if (bf_vmware_admit(platform, &admission, &ticket, &err) < 0 && err.code != BF_E_SOURCE_FULL)
        abort();
    bf_error_clear(&err);
    return ticket;
}

/* --- who waits --- */

static char order[16];
static unsigned ordered;

struct waiter {
    pthread_t thread;
    struct bf_platform *platform;
    const char *host;
    char name;
    struct bf_vmware_ticket *ticket;
    enum bf_error_code code;
};

static void *wait_for_it(void *user)
{
    struct waiter *waiter = user;
    struct bf_vmware_admission admission = asking(waiter->host, 10000, false);
    struct bf_error err = BF_ERROR_INIT;

    bf_vmware_admit(waiter->platform, &admission, &waiter->ticket, &err);
    waiter->code = err.code;
    bf_error_clear(&err);
    order[__atomic_fetch_add(&ordered, 1, __ATOMIC_SEQ_CST)] = waiter->name;
    return NULL;
}

static void start(struct waiter *waiter, const char *host, char name, bool waits)
{
    unsigned before = bf_vmware_admission_waiting();
    struct bf_deadline deadline = bf_deadline_in(5000);

    *waiter = (struct waiter){.platform = new_platform(), .host = host, .name = name};
    if (pthread_create(&waiter->thread, NULL, wait_for_it, waiter) != 0)
        abort();
    while (waits && bf_vmware_admission_waiting() == before && !bf_deadline_passed(deadline))
        bf_sleep_ms(1);
}

static void finish(struct waiter *waiter)
{
    pthread_join(waiter->thread, NULL);
    bf_platform_close(waiter->platform);
}

static void test_limits(void)
{
    struct bf_vmware_ticket *a = ticket_for("host-1", false), *b = ticket_for("host-1", true);
    uint64_t began = bf_now_ms();

    ok(a && b, "two of a host");
    ok(!ticket_for("host-1", true) && bf_now_ms() - began < 150, "no third: told at once");
    ok(!ticket_for("host-1", false) && bf_now_ms() - began >= 200, "or after the deadline");
    struct bf_vmware_ticket *c = ticket_for("host-2", false);
    ok(c != NULL, "one of another host");
    ok(!ticket_for("host-2", true), "no more of the vCenter");
    struct bf_vmware_admission other = asking("host-1", 0, true);
    struct bf_vmware_ticket *d = NULL;
    struct bf_error err = BF_ERROR_INIT;
    other.server = "vc2";
    ok(bf_vmware_admit(platform, &other, &d, &err) == 0, "another vCenter has its own");
    bf_vmware_ticket_free(a);
    struct bf_vmware_ticket *e = ticket_for("host-1", false);
    ok(e != NULL, "one that was given back");
    bf_vmware_ticket_free(b);
    bf_vmware_ticket_free(c);
    bf_vmware_ticket_free(d);
    bf_vmware_ticket_free(e);
    bf_vmware_ticket_free(NULL);
}

static void test_order(void)
{
    struct bf_vmware_ticket *a = ticket_for("host-1", false), *b = ticket_for("host-1", true);
    struct waiter one, two, other;

    ordered = 0;
    start(&one, "host-1", '1', true);
    start(&two, "host-1", '2', true);
    is_int(bf_vmware_admission_waiting(), 2, "two wait");
    start(&other, "host-2", 'o', false);
    finish(&other);
    ok(other.ticket && ordered == 1, "who can go does not wait for those who cannot");
    bf_vmware_ticket_free(other.ticket);
    bf_vmware_ticket_free(a);
    finish(&one);
    ok(one.ticket && !ticket_for("host-1", true), "the first had its turn, and no slot is left");
    bf_vmware_ticket_free(b);
    finish(&two);
    bf_vmware_ticket_free(one.ticket);
    bf_vmware_ticket_free(two.ticket);
    is_string(order, "o12", "in the order they came");
}

/* Who holds one never gets what somebody who waits could have. */
static void test_no_overtaking(void)
{
    struct bf_vmware_ticket *a = ticket_for("host-1", false), *b = ticket_for("host-1", true);
    struct waiter one;

    ordered = 0;
    start(&one, "host-1", '1', true);
    bf_vmware_ticket_free(a);
    struct bf_vmware_ticket *greedy = ticket_for("host-1", true);
    finish(&one);
    ok(!greedy && one.ticket, "the slot is for who waits");
    bf_vmware_ticket_free(one.ticket);
    a = ticket_for("host-1", true);
    start(&one, "host-1", '1', true);
    uint64_t began = bf_now_ms();
    bf_platform_cancel(one.platform);
    finish(&one);
    ok(one.code == BF_E_CANCELLED && bf_now_ms() - began < 1000, "who waits can be cancelled");
    is_int(bf_vmware_admission_waiting(), 0, "none waits");
    bf_vmware_ticket_free(a);
    bf_vmware_ticket_free(b);
}

int main(void)
{
    platform = new_platform();
    test_limits();
    test_order();
    test_no_overtaking();
    bf_platform_close(platform);
    return done();
}
