/* SPDX-License-Identifier: Apache-2.0 */
/* Freezing the guest's file systems through its agent.
 *
 * libvirt waits for an agent without limit unless told otherwise, so a limit is set
 * first; it is the domain's and is put back to libvirt's default after the thaw.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/libvirt/snapshot.h"

#define AGENT_TIMEOUT_S 20
#define THAW_TRIES 3

static int refuse(enum bf_quiesce mode, char **ret_note, const char *reason, struct bf_error *err)
{
    if (mode == BF_QUIESCE_REQUIRE)
        return bf_fail(err, BF_E_QUIESCE_FAILED, 0, "%s", reason);
    *ret_note = bf_xstrdup(reason);
    return 0;
}

int bf_libvirt_freeze(struct bf_libvirt *lv, virDomainPtr vir,
                      const struct bf_libvirt_domain *domain, enum bf_quiesce mode,
                      bool *ret_frozen, char **ret_note, struct bf_error *err)
{
    *ret_frozen = false;
    *ret_note = NULL;
    if (mode == BF_QUIESCE_OFF)
        return 0;
    if (domain->machine->power == BF_POWER_PAUSED)
        return refuse(mode, ret_note, "the machine is paused, its guest agent cannot answer", err);
    if (!domain->machine->agent)
        return refuse(mode, ret_note, "the machine has no guest agent channel", err);
    if (!domain->agent_connected)
        return refuse(mode, ret_note, "no guest agent runs in the guest", err);
    (void)virDomainAgentSetResponseTimeout(vir, AGENT_TIMEOUT_S, 0);
    if (virDomainFSFreeze(vir, NULL, 0, 0) >= 0) {
        *ret_frozen = true;
        return 0;
    }
    /* A connection that broke is no answer of the agent. */
    if (virConnectIsAlive(lv->conn) != 1)
        return bf_libvirt_fail(lv, err, BF_E_QUIESCE_FAILED, "freezing the file systems");
    bf_auto_free char *reason =
        bf_xasprintf("the guest agent did not freeze: %s", bf_libvirt_last_text());
    /* It may have frozen some of them before it failed. */
    (void)virDomainFSThaw(vir, NULL, 0, 0);
    return refuse(mode, ret_note, reason, err);
}

int bf_libvirt_thaw(struct bf_libvirt *lv, virDomainPtr vir, struct bf_error *err)
{
    for (unsigned i = 0; i < THAW_TRIES; i++) {
        if (virDomainFSThaw(vir, NULL, 0, 0) >= 0) {
            (void)virDomainAgentSetResponseTimeout(vir, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0);
            return 0;
        }
    }
    return bf_libvirt_fail(lv, err, BF_E_QUIESCE_FAILED,
                           "the guest's file systems were frozen and could not be thawed");
}

void bf_libvirt_thaw_quietly(virDomainPtr vir, const struct bf_libvirt_domain *domain)
{
    if (!domain->agent_connected || domain->machine->power != BF_POWER_ON)
        return;
    (void)virDomainAgentSetResponseTimeout(vir, AGENT_TIMEOUT_S, 0);
    (void)virDomainFSThaw(vir, NULL, 0, 0);
    (void)virDomainAgentSetResponseTimeout(vir, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0);
}
