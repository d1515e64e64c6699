/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/fault.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/walk.h"

static const struct {
    const char *type;
    enum bf_error_code code;
} translation[] = {
    {"InvalidLogin", BF_E_PLATFORM_AUTH},
    {"NotAuthenticated", BF_E_PLATFORM_AUTH},
    {"NoPermission", BF_E_PLATFORM_PRIVILEGE},
    {"RestrictedVersion", BF_E_PLATFORM_UNSUPPORTED},
    {"NotSupported", BF_E_PLATFORM_UNSUPPORTED},
    {"MethodNotFound", BF_E_PLATFORM_UNSUPPORTED},
    {"MethodDisabled", BF_E_IN_USE},
    {"TaskInProgress", BF_E_BUSY},
    {"InvalidPowerState", BF_E_MACHINE_STATE},
    {"InvalidState", BF_E_MACHINE_STATE},
    {"ToolsUnavailable", BF_E_SHUTDOWN_REFUSED},
    {"ApplicationQuiesceFault", BF_E_QUIESCE_FAILED},
    {"FilesystemQuiesceFault", BF_E_QUIESCE_FAILED},
    {"MissingController", BF_E_SNAPSHOT_FAILED},
    {"TooManySnapshotLevels", BF_E_SNAPSHOT_FAILED},
    {"MultipleSnapshotsNotSupported", BF_E_SNAPSHOT_FAILED},
    {"SnapshotFault", BF_E_SNAPSHOT_FAILED},
    {"SnapshotDisabled", BF_E_SNAPSHOT_FAILED},
    {"SnapshotLocked", BF_E_SNAPSHOT_FAILED},
    {"SnapshotNoChange", BF_E_SNAPSHOT_FAILED},
    {"SnapshotIncompatibleDeviceInVm", BF_E_SNAPSHOT_FAILED},
    {"NoDiskSpace", BF_E_SNAPSHOT_FAILED},
    {"InsufficientStorageSpace", BF_E_SNAPSHOT_FAILED},
    {"HostNotConnected", BF_E_PLATFORM_UNREACHABLE},
    {"HostNotReachable", BF_E_PLATFORM_UNREACHABLE},
    {"HostCommunication", BF_E_PLATFORM_UNREACHABLE},
    {"ManagedObjectNotFound", BF_E_MACHINE_GONE},
    {"FileLocked", BF_E_IN_USE},
    {"FileFault", BF_E_CHANGE_MAP},
};

/* Fields of faults that say what is meant. */
static const char *const particulars[] = {"privilegeId", "invalidProperty", "file", "existingState",
                                          "obj",         "reason"};

int bf_vmware_fault_fail(const char *what, const char *type, xmlNodePtr fault, const char *text,
                         struct bf_error *err)
{
    enum bf_error_code code = BF_E_PLATFORM_ERROR;
    bf_auto_buf more = {0};

    for (size_t i = 0; i < bf_array_length(translation); i++) {
        if (bf_streq(translation[i].type, type))
            code = translation[i].code;
    }
    for (size_t i = 0; fault && i < bf_array_length(particulars); i++) {
        bf_auto_free char *value = bf_vmware_text(fault, particulars[i]);

        if (value && *value)
            bf_buf_addf(&more, ", %s %s", particulars[i], value);
    }
    bf_auto_free char *said =
        bf_xasprintf("%s%s%s%s", type ? type : "a fault without a type", more.text ? more.text : "",
                     text && *text ? ": " : "", text ? text : "");
    bf_text_clean(said, false);
    bf_fail(err, code, 0, "%s: %s", what, said);
    bf_error_evidence(err, said);
    return -1;
}
