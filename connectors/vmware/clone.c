/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/clone.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/mover.h"
#include "connectors/vmware/task.h"

#define CLONE_MS (30 * 60 * 1000ULL)
#define DESTROY_MS (10 * 60 * 1000ULL)
#define WORD " blockferry "

static char *name_of(const char *machine_id, const char *tag)
{
    return bf_xasprintf("%s" WORD "%s", tag, machine_id);
}

bool bf_vmware_clone_named(const char *name, char ret_tag[BF_TAG_LENGTH + 1], char **ret_machine)
{
    if (!bf_tag_of(name, ret_tag) || !bf_starts_with(name + BF_TAG_LENGTH, WORD))
        return false;
    *ret_machine = bf_xstrdup(name + BF_TAG_LENGTH + strlen(WORD));
    return true;
}

static int find_in(struct bf_vmware *vw, const char *folder, const char *name, char **ret_clone,
                   struct bf_error *err)
{
    bf_auto_vmware_request request = {0};
    bf_auto_vmware_reply reply = {0};

    bf_vmware_request_begin(&request, "FindChild", "SearchIndex",
                            vw->index ? vw->index : "SearchIndex");
    bf_vmware_add_ref(&request, "entity", "Folder", folder);
    bf_xml_leaf(&request.xml, "name", name);
    if (bf_vmware_send(vw, &request, &reply, err) < 0)
        return bf_fail_in(err, "folder %s of linked clones", folder);
    *ret_clone = bf_vmware_text(reply.node, "returnval");
    return 0;
}

int bf_vmware_clone_find(struct bf_vmware *vw, const char *machine_id, const char *tag,
                         char **ret_clone, struct bf_error *err)
{
    bf_auto_free char *name = name_of(machine_id, tag);
    char *const *folders = vw->conf.clone_folders;

    *ret_clone = NULL;
    for (size_t i = 0; i < vw->conf.movers.count && !*ret_clone; i++) {
        bool seen = !folders[i];

        for (size_t before = 0; before < i; before++)
            seen = seen || bf_streq(folders[before], folders[i]);
        if (!seen && find_in(vw, folders[i], name, ret_clone, err) < 0)
            return -1;
    }
    return 0;
}

/* --- making --- */

static void add_removal(struct bf_xml_out *xml, const struct bf_vmware_device *device)
{
    bf_auto_free char *key = bf_xasprintf("%d", device->key);

    bf_xml_open(xml, "deviceChange");
    bf_xml_leaf(xml, "operation", "remove");
    bf_xml_open(xml, "device");
    bf_xml_attr(xml, "xsi:type", device->type);
    bf_xml_leaf(xml, "key", key);
    bf_xml_close(xml);
    bf_xml_close(xml);
}

static void write_spec(struct bf_vmware_request *request, const struct bf_vmware_machine *machine,
                       const struct bf_vmware_moment *moment)
{
    struct bf_xml_out *xml = &request->xml;

    bf_xml_open(xml, "spec");
    bf_xml_open(xml, "location");
    if (machine->disk_count > 0 && machine->disks[0].datastore)
        bf_vmware_add_ref(request, "datastore", "Datastore", machine->disks[0].datastore);
    bf_xml_leaf(xml, "diskMoveType", "createNewChildDiskBacking");
    bf_xml_close(xml);
    bf_xml_leaf(xml, "template", "false");
    bf_xml_open(xml, "config");
    bf_xml_leaf(xml, "annotation",
                "Made by blockferry for one round of replication; it removes it.");
    for (size_t i = 0; i < machine->device_count; i++) {
        if (bf_vmware_device_is_nic(machine->devices[i].type))
            add_removal(xml, &machine->devices[i]);
    }
    bf_xml_close(xml);
    bf_xml_leaf(xml, "powerOn", "false");
    bf_vmware_add_ref(request, "snapshot", "VirtualMachineSnapshot", moment->snapshot);
    bf_xml_close(xml);
}

int bf_vmware_clone_make(struct bf_vmware *vw, const char *folder,
                         const struct bf_vmware_machine *machine,
                         const struct bf_vmware_moment *moment, char **ret_clone,
                         struct bf_error *err)
{
    bf_auto_free char *name = name_of(moment->machine, moment->tag);
    bf_auto_vmware_request request = {0};

    bf_vmware_request_begin(&request, "CloneVM_Task", "VirtualMachine", moment->machine);
    bf_vmware_add_ref(&request, "folder", "Folder", folder);
    bf_xml_leaf(&request.xml, "name", name);
    write_spec(&request, machine, moment);
    if (bf_vmware_task(vw, &request, moment->machine, CLONE_MS, ret_clone, err) < 0)
        return bf_fail_in(err, "linked clone of snapshot %s", moment->tag);
    return *ret_clone ? 0 : bf_fail(err, BF_E_PROTOCOL, 0, "CloneVM_Task: no machine");
}

/* --- removing --- */

static int take_path(const char *id, xmlNodePtr object, void *user)
{
    char **path = user;

    (void)id;
    *path = bf_vmware_text(bf_vmware_property(object, "config.files.vmPathName"), "");
    return 0;
}

/* "[ds] name/" of its configuration file; NULL: it has no directory of its own. */
static int directory_of(struct bf_vmware *vw, const char *clone, char **ret_directory,
                        struct bf_error *err)
{
    static const char *const paths[] = {"config.files.vmPathName", NULL};
    bf_auto_free char *path = NULL;

    if (bf_vmware_get(vw, "VirtualMachine", clone, paths, take_path, &path, err) < 0)
        return -1;
    const char *slash = path ? strrchr(path, '/') : NULL;
    if (slash)
        *ret_directory = bf_xasprintf("%.*s", (int)(slash + 1 - path), path);
    return 0;
}

/* Does one of its files hang on this mover? */
static int check_mover(struct bf_vmware *vw, const char *mover_id, const char *directory,
                       const struct bf_vmware_machine *clone, struct bf_error *err)
{
    bf_auto_vmware_mover mover = {0};

    if (bf_streq(clone->machine->id, mover_id))
        return bf_fail(err, BF_E_IN_USE, 0, "machine %s is a mover", clone->machine->name);
    if (bf_vmware_mover_get(vw, mover_id, &mover, err) < 0) {
        if (err->code != BF_E_NO_SUCH_MACHINE) /* on that nothing can hang */
            return -1;
        bf_error_clear(err);
        return 0;
    }
    for (size_t i = 0; i < mover.machine->disk_count; i++) {
        const struct bf_vmware_disk *disk = &mover.machine->disks[i];

        if ((disk->file && bf_starts_with(disk->file, directory)) ||
            (disk->parent_file && bf_starts_with(disk->parent_file, directory)))
            return bf_fail(err, BF_E_IN_USE, 0, "%s of linked clone %s is attached to mover %s",
                           disk->file ? disk->file : "a disk", clone->machine->name, mover_id);
    }
    return 0;
}

/* Is it ours to destroy, with all of its files? */
static int check_own(struct bf_vmware *vw, const char *clone, const char *tag, struct bf_error *err)
{
    bf_auto_vmware_machine *machine = NULL;
    bf_auto_free char *directory = NULL;

    if (bf_vmware_machine_get(vw, clone, BF_E_MACHINE_GONE, &machine, err) < 0 ||
        directory_of(vw, clone, &directory, err) < 0)
        return -1;
    if (!bf_starts_with(machine->machine->name, tag) || machine->machine->power != BF_POWER_OFF)
        return bf_fail(err, BF_E_IN_USE, 0, "machine %s is no linked clone that is off",
                       machine->machine->name);
    for (size_t i = 0; i < machine->disk_count; i++) {
        const char *file = machine->disks[i].file;

        if (!file || !directory || !bf_starts_with(file, directory))
            return bf_fail(err, BF_E_IN_USE, 0,
                           "linked clone %s has the disk %s, which is not its own: destroying it "
                           "would delete that file",
                           machine->machine->name, file ? file : "without a file");
    }
    for (size_t i = 0; i < vw->conf.movers.count; i++) {
        if (check_mover(vw, vw->conf.movers.list[i].id, directory ? directory : "", machine, err) <
            0)
            return -1;
    }
    return 0;
}

int bf_vmware_clone_remove(struct bf_vmware *vw, const char *machine_id, const char *tag,
                           struct bf_error *err)
{
    bf_auto_free char *clone = NULL;
    bf_auto_vmware_request request = {0};

    if (bf_vmware_clone_find(vw, machine_id, tag, &clone, err) < 0)
        return -1;
    if (!clone)
        return 0;
    if (check_own(vw, clone, tag, err) < 0)
        return -1;
    bf_vmware_request_begin(&request, "Destroy_Task", "VirtualMachine", clone);
    if (bf_vmware_task(vw, &request, clone, DESTROY_MS, NULL, err) == 0)
        return 0;
    if (!bf_vmware_fault(vw, "ManagedObjectNotFound"))
        return bf_fail_in(err, "linked clone %s", clone);
    bf_error_clear(err);
    return 0;
}
