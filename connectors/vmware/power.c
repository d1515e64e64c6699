/* SPDX-License-Identifier: Apache-2.0 */
/* Power of a machine. */
#include "connectors/vmware/power.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/machine.h"
#include "connectors/vmware/task.h"

#define POWER_MS 300000
#define POLL_MS 500

static int take_power(const char *id, xmlNodePtr object, void *user)
{
    bf_auto_free char *state = bf_vmware_text(bf_vmware_property(object, "runtime.powerState"), "");
    enum bf_power *power = user;

    (void)id;
    *power = bf_streq(state, "poweredOn")    ? BF_POWER_ON
             : bf_streq(state, "poweredOff") ? BF_POWER_OFF
             : bf_streq(state, "suspended")  ? BF_POWER_PAUSED
                                             : BF_POWER_UNKNOWN;
    return 0;
}

int bf_vmware_power(struct bf_platform *platform, const char *machine_id, enum bf_power *ret_power,
                    struct bf_error *err)
{
    static const char *const paths[] = {"runtime.powerState", NULL};
    enum bf_power power = BF_POWER_UNKNOWN;

    if (bf_vmware_get(bf_vmware_of(platform), "VirtualMachine", machine_id, paths, take_power,
                      &power, err) < 0)
        return bf_fail_in(err, "machine %s", machine_id);
    *ret_power = power;
    return 0;
}

/* Already in the state that was asked for is success. */
static int power_task(struct bf_platform *platform, const char *machine_id, const char *method,
                      enum bf_power wanted, struct bf_error *err)
{
    struct bf_vmware *vw = bf_vmware_of(platform);
    bf_auto_vmware_request request = {0};
    enum bf_power power = BF_POWER_UNKNOWN;

    if (bf_vmware_power(platform, machine_id, &power, err) < 0)
        return -1;
    if (power == wanted)
        return 0;
    bf_vmware_request_begin(&request, method, "VirtualMachine", machine_id);
    if (bf_vmware_task(vw, &request, machine_id, POWER_MS, NULL, err) == 0)
        return 0;
    if (bf_vmware_fault(vw, "InvalidPowerState")) {
        bf_auto_error look = BF_ERROR_INIT;

        if (bf_vmware_power(platform, machine_id, &power, &look) == 0 && power == wanted) {
            bf_error_clear(err);
            return 0;
        }
    }
    return bf_fail_in(err, "machine %s", machine_id);
}

int bf_vmware_power_off(struct bf_platform *platform, const char *machine_id, struct bf_error *err)
{
    return power_task(platform, machine_id, "PowerOffVM_Task", BF_POWER_OFF, err);
}

int bf_vmware_power_on(struct bf_platform *platform, const char *machine_id, struct bf_error *err)
{
    return power_task(platform, machine_id, "PowerOnVM_Task", BF_POWER_ON, err);
}

int bf_vmware_shut_down(struct bf_platform *platform, const char *machine_id,
                        struct bf_deadline deadline, struct bf_error *err)
{
    struct bf_vmware *vw = bf_vmware_of(platform);
    bf_auto_vmware_request request = {0};
    bf_auto_vmware_reply reply = {0};
    enum bf_power power = BF_POWER_UNKNOWN;

    if (bf_vmware_power(platform, machine_id, &power, err) < 0)
        return -1;
    if (power == BF_POWER_OFF)
        return 0;
    bf_vmware_request_begin(&request, "ShutdownGuest", "VirtualMachine", machine_id);
    if (bf_vmware_send(vw, &request, &reply, err) < 0 &&
        !bf_vmware_fault(vw, "InvalidPowerState")) /* going down already */
        return bf_fail_in(err, "machine %s", machine_id);
    bf_error_clear(err);
    for (;;) {
        if (bf_vmware_power(platform, machine_id, &power, err) < 0)
            return -1;
        if (power == BF_POWER_OFF)
            return 0;
        if (bf_deadline_passed(deadline))
            return bf_fail(err, BF_E_SHUTDOWN_REFUSED, 0, "machine %s is still running",
                           machine_id);
        if (bf_platform_pause(platform, POLL_MS, deadline, err) < 0) {
            if (err->code != BF_E_DEADLINE)
                return -1;
            bf_error_clear(err); /* a last look */
        }
    }
}
