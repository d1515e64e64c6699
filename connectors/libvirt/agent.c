/* SPDX-License-Identifier: Apache-2.0 */
/* The guest agent of a launched machine, asked for the system it runs in.
 *
 * The machine has the agent's channel always (launch_xml.c); whether an agent listens is the
 * guest's matter.  Agents before QEMU 2.10 do not name their system; they are asked for the time.
 * libvirt waits for an agent without limit unless told otherwise; the limit is put back, as other
 * tools may rely on it.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/libvirt/launch.h"

#define AGENT_TIMEOUT_S 5

static char *name_of(virTypedParameterPtr params, int count)
{
    static const char *const keys[] = {"os.pretty-name", "os.name", "os.id"};

    for (size_t i = 0; i < bf_array_length(keys); i++) {
        const char *text = NULL;

        if (virTypedParamsGetString(params, count, keys[i], &text) == 1 && text && *text) {
            char *name = bf_xasprintf("%.200s", text);

            bf_text_clean(name, false); /* the guest's own words */
            return name;
        }
    }
    return bf_xstrdup("a system without a name");
}

static char *ask(virDomainPtr vir)
{
    virTypedParameterPtr params = NULL;
    long long seconds;
    unsigned nanoseconds;
    int count = 0;
    char *name;

    if (virDomainGetGuestInfo(vir, VIR_DOMAIN_GUEST_INFO_OS, &params, &count, 0) < 0)
        return virDomainGetTime(vir, &seconds, &nanoseconds, 0) < 0
                   ? NULL
                   : bf_xstrdup("a system without a name");
    name = name_of(params, count);
    virTypedParamsFree(params, count);
    return name;
}

int bf_libvirt_guest_agent(struct bf_platform *platform, const char *machine_ref, char **ret_answer,
                           struct bf_error *err)
{
    bf_libvirt_op *lv = bf_libvirt_of(platform);
    bf_auto_free char *uuid = NULL;
    bf_auto_free char *answer = NULL;
    bf_auto_vir(domain) virDomainPtr vir = NULL;

    if (bf_libvirt_machine_id(platform, machine_ref, &uuid, err) < 0 ||
        bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0 ||
        bf_libvirt_lookup(lv, uuid, BF_E_MACHINE_GONE, &vir, err) < 0)
        return -1;
    (void)virDomainAgentSetResponseTimeout(vir, AGENT_TIMEOUT_S, 0);
    answer = ask(vir);
    (void)virDomainAgentSetResponseTimeout(vir, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0);
    /* No answer is none only while the connection holds. */
    if (bf_libvirt_check(lv, err) < 0)
        return -1;
    *ret_answer = bf_steal(answer);
    return 0;
}
