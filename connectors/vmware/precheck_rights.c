/* SPDX-License-Identifier: Apache-2.0 */
/* Findings about what the account may do to a mover, and by it. */
#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/precheck.h"
#include "connectors/vmware/privilege.h"

struct rights {
    struct bf_vmware *vw;
    const struct bf_vmware_machine *machine;
    const struct bf_vmware_machine *mover;
    const char *folder; /* of linked clones; NULL: none */
    struct bf_findings *findings;
};

static void add(const struct rights *rights, enum bf_severity severity, const char *id,
                const char *found, const char *needed, const char *why, const char *fix)
{
    bf_findings_add(rights->findings, severity, id, rights->mover->machine->id, found, needed, why,
                    fix);
}

static int need(const struct rights *rights, const char *type, const char *id,
                const char *const *names, size_t count, struct bf_error *err)
{
    bf_auto_free char *missing = NULL;

    if (bf_vmware_privileges_list(rights->vw, type, id, names, count, false, &missing, err) < 0)
        return bf_fail_in(err, "privileges on %s", id);
    if (!missing)
        return 0;
    bf_auto_free char *needed = bf_xasprintf("these privileges on %s", id);
    add(rights, BF_SEVERITY_BLOCK, "vmware-mover-privilege", missing, needed,
        "disks could not be attached to the mover, or not be detached",
        "add them to the account's role there");
    return 0;
}

/* Destroying a machine deletes the files of all disks that hang on it: who cannot, cannot by
 * mistake either. */
static int harm_findings(const struct rights *rights, struct bf_error *err)
{
    static const char *const machine[] = {"VirtualMachine.Inventory.Delete"};
    static const char *const files[] = {"Datastore.FileManagement"};
    bf_auto_free char *granted = NULL;
    bf_auto_free char *on_files = NULL;

    if (bf_vmware_privileges_list(rights->vw, "VirtualMachine", rights->mover->machine->id, machine,
                                  1, true, &granted, err) < 0)
        return -1;
    if (granted)
        add(rights, BF_SEVERITY_BLOCK, "vmware-mover-may-delete", granted,
            "a role without it on the mover",
            "a mover that is deleted takes the files of the disks that hang on it along",
            "give the account a role on the mover without the right to delete machines");
    for (char **at = rights->machine->datastores; at && *at && !on_files; at++) {
        if (bf_vmware_privileges_list(rights->vw, "Datastore", *at, files, 1, true, &on_files,
                                      err) < 0)
            return -1;
    }
    if (on_files)
        add(rights, BF_SEVERITY_WARN, "vmware-mover-may-delete", on_files,
            "a role without it on the machines' datastores",
            "reading by a mover does not need it, and it allows to delete disks",
            "take it from the account's role, unless disks are read from the datastore");
    return 0;
}

static int take_nothing(const char *id, xmlNodePtr object, void *user)
{
    (void)id, (void)object, (void)user;
    return 0;
}

static int clone_findings(const struct rights *rights, struct bf_error *err)
{
    static const char *const source[] = {"VirtualMachine.Provisioning.Clone"};
    static const char *const folder[] = {"VirtualMachine.Inventory.CreateFromExisting",
                                         "VirtualMachine.Inventory.Delete",
                                         "VirtualMachine.Config.AddNewDisk"};
    static const char *const name[] = {"name", NULL};
    const char *id = rights->folder;

    if (!id)
        return 0;
    if (bf_vmware_get(rights->vw, "Folder", id, name, take_nothing, NULL, err) == 0 &&
        need(rights, "VirtualMachine", rights->machine->machine->id, source,
             bf_array_length(source), err) == 0 &&
        need(rights, "Folder", id, folder, bf_array_length(folder), err) == 0)
        return 0;
    if (!bf_vmware_fault(rights->vw, "ManagedObjectNotFound"))
        return -1;
    bf_error_clear(err);
    add(rights, BF_SEVERITY_BLOCK, "vmware-mover-clones", id, "a folder of virtual machines",
        "linked clones are made there", "correct the platform's option mover_clone_folder");
    return 0;
}

static int privilege_findings(const struct rights *rights, struct bf_error *err)
{
    static const char *const mover[] = {"VirtualMachine.Config.AddExistingDisk",
                                        "VirtualMachine.Config.RemoveDisk",
                                        "VirtualMachine.Config.AdvancedConfig"};
    static const char *const stores[] = {"Datastore.Browse", "Datastore.AllocateSpace"};

    if (need(rights, "VirtualMachine", rights->mover->machine->id, mover, bf_array_length(mover),
             err) < 0)
        return -1;
    for (char **at = rights->machine->datastores; at && *at; at++) {
        if (need(rights, "Datastore", *at, stores, bf_array_length(stores), err) < 0)
            return -1;
    }
    return harm_findings(rights, err) < 0 ? -1 : clone_findings(rights, err);
}

int bf_vmware_precheck_rights(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                              const struct bf_vmware_machine *mover, const char *folder,
                              struct bf_findings *findings, struct bf_error *err)
{
    const struct rights rights = {
        .vw = vw, .machine = machine, .mover = mover, .folder = folder, .findings = findings};

    return privilege_findings(&rights, err);
}
