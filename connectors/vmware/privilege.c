/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/privilege.h"

#include "base/cleanup.h"
#include "base/text.h"

static const char *const needed[] = {
    "System.Read",
    "VirtualMachine.Config.ChangeTracking",
    "VirtualMachine.Config.DiskLease",
    "VirtualMachine.State.CreateSnapshot",
    "VirtualMachine.State.RemoveSnapshot",
    "VirtualMachine.Provisioning.DiskRandomRead",
    "VirtualMachine.Provisioning.GetVmFiles",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
};

int bf_vmware_privileges_missing(struct bf_vmware *vw, const char *type, const char *id,
                                 char **ret_missing, struct bf_error *err)
{
    bf_auto_vmware_request request = {0};
    bf_auto_vmware_reply reply = {0};
    bf_auto_buf missing = {0};
    size_t answered = 0;

    bf_vmware_request_begin(&request, "HasPrivilegeOnEntities", "AuthorizationManager",
                            vw->authorization ? vw->authorization : "AuthorizationManager");
    bf_vmware_add_ref(&request, "entity", type, id);
    bf_xml_leaf(&request.xml, "sessionId", vw->session_key);
    for (size_t i = 0; i < bf_array_length(needed); i++)
        bf_xml_leaf(&request.xml, "privId", needed[i]);
    if (bf_vmware_send(vw, &request, &reply, err) < 0)
        return -1;
    BF_VMWARE_EACH(granted, bf_vmware_find(reply.node, "returnval"), "privAvailability")
    {
        bf_auto_free char *name = bf_vmware_text(granted, "privId");

        answered++;
        if (!bf_vmware_true(granted, "isGranted"))
            bf_buf_addf(&missing, "%s%s", missing.length ? ", " : "", name ? name : "?");
    }
    if (answered < bf_array_length(needed))
        return bf_fail(err, BF_E_PROTOCOL, 0,
                       "HasPrivilegeOnEntities: %zu privileges asked for, %zu answered",
                       bf_array_length(needed), answered);
    *ret_missing = bf_steal(missing.text);
    return 0;
}
