/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/privilege.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/read_path.h"

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
    "VApp.Export", /* last: where disks may be exported */
};

static size_t needed_count(const struct bf_vmware *vw)
{
    enum bf_vmware_path path;
    bf_auto_error ignored = BF_ERROR_INIT;
    bool export =
        bf_vmware_read_path(vw, NULL, &path, &ignored) == 0 && path == BF_VMWARE_PATH_EXPORT;

    return bf_array_length(needed) - (export ? 0 : 1);
}

int bf_vmware_privileges_list(struct bf_vmware *vw, const char *type, const char *id,
                              const char *const *names, size_t count, bool granted, char **ret_list,
                              struct bf_error *err)
{
    bf_auto_vmware_request request = {0};
    bf_auto_vmware_reply reply = {0};
    bf_auto_buf list = {0};
    size_t answered = 0;

    bf_vmware_request_begin(&request, "HasPrivilegeOnEntities", "AuthorizationManager",
                            vw->authorization ? vw->authorization : "AuthorizationManager");
    bf_vmware_add_ref(&request, "entity", type, id);
    bf_xml_leaf(&request.xml, "sessionId", vw->session_key);
    for (size_t i = 0; i < count; i++)
        bf_xml_leaf(&request.xml, "privId", names[i]);
    if (bf_vmware_send(vw, &request, &reply, err) < 0)
        return -1;
    BF_VMWARE_EACH(answer, bf_vmware_find(reply.node, "returnval"), "privAvailability")
    {
        bf_auto_free char *name = bf_vmware_text(answer, "privId");

        answered++;
        if (bf_vmware_true(answer, "isGranted") == granted)
            bf_buf_addf(&list, "%s%s", list.length ? ", " : "", name ? name : "?");
    }
    if (answered < count)
        return bf_fail(err, BF_E_PROTOCOL, 0,
                       "HasPrivilegeOnEntities: %zu privileges asked for, %zu answered", count,
                       answered);
    *ret_list = bf_steal(list.text);
    return 0;
}

int bf_vmware_privileges_missing(struct bf_vmware *vw, const char *type, const char *id,
                                 char **ret_missing, struct bf_error *err)
{
    return bf_vmware_privileges_list(vw, type, id, needed, needed_count(vw), false, ret_missing,
                                     err);
}
