/* SPDX-License-Identifier: Apache-2.0 */
/* Findings about files that are more than one disk's: of the machine itself, or of another one.
 *
 * Change tracking is a disk's, and sees what is written through that disk alone: what comes into
 * its file in another way is in no change map.  Two disks may well stand on one file that nobody
 * writes (linked clones); what must not be is that one writes a file which the other has, or stands
 * on.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/precheck.h"

/* "[store]  a//./b.vmdk" is "[store] a/b.vmdk". */
static char *plain_name(const char *file)
{
    const char *at = strchr(file, ']');
    bf_auto_buf text = {0};

    at = at ? at + 1 : file;
    bf_buf_add(&text, file, (size_t)(at - file));
    at += strspn(at, " ");
    while (*at) {
        size_t length = strcspn(at, "/");

        if (length > 0 && !(length == 1 && *at == '.'))
            bf_buf_addf(&text, "/%.*s", (int)length, at);
        at += length;
        at += strspn(at, "/");
    }
    return bf_steal(text.text);
}

static bool is_same(const char *one, const char *other)
{
    if (!one || !other)
        return false;
    bf_auto_free char *plain = plain_name(one);
    bf_auto_free char *other_plain = plain_name(other);

    return plain && bf_streq(plain, other_plain);
}

static bool writes_into(const struct bf_vmware_disk *writer, const struct bf_vmware_disk *disk)
{
    bool found = is_same(writer->file, disk->file);

    for (char **at = disk->parents; at && *at && !found; at++)
        found = is_same(writer->file, *at);
    return found;
}

static bool collide(const struct bf_vmware_disk *one, const struct bf_vmware_disk *other)
{
    return writes_into(one, other) || writes_into(other, one);
}

void bf_vmware_precheck_same_file(const struct bf_vmware_machine *machine,
                                  struct bf_findings *findings)
{
    for (size_t i = 0; i < machine->disk_count; i++) {
        for (size_t j = 0; j < i; j++) {
            const struct bf_vmware_disk *disk = &machine->disks[i], *other = &machine->disks[j];

            if (!collide(disk, other))
                continue;
            bf_auto_free char *found =
                bf_xasprintf("%s, which is a file of disk %s, too", disk->file, other->key);
            bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-disk-same-file", disk->key, found,
                            "a file of its own",
                            "what is written through one of the two disks is not in the change map "
                            "of the other, and they would become two disks at the target",
                            "remove one of them from the machine, without deleting its file");
        }
    }
}

/* --- other machines --- */

struct others {
    struct bf_vmware *vw;
    const struct bf_vmware_machine *machine;
    struct bf_findings *findings;
    char **ids; /* of machines that have something on the same datastores */
    size_t count, capacity;
};

static void others_done(struct others *others)
{
    for (size_t i = 0; i < others->count; i++)
        free(others->ids[i]);
    free(others->ids);
}

static int take_users(const char *id, xmlNodePtr object, void *user)
{
    struct others *others = user;

    (void)id;
    BF_VMWARE_EACH(ref, bf_vmware_property(object, "vm"), "ManagedObjectReference")
    {
        bf_auto_free char *machine = bf_vmware_text(ref, "");
        bool known = !machine || bf_streq(machine, others->machine->machine->id);

        for (size_t i = 0; i < others->count && !known; i++)
            known = bf_streq(others->ids[i], machine);
        if (known)
            continue;
        bf_xgrow(&others->ids, &others->capacity, others->count + 1, sizeof(*others->ids));
        others->ids[others->count++] = bf_steal(machine);
    }
    return 0;
}

static bool is_mover(const struct bf_vmware *vw, const char *id)
{
    for (size_t i = 0; i < vw->conf.movers.count; i++) {
        if (bf_streq(vw->conf.movers.list[i].id, id))
            return true;
    }
    return false;
}

static void add_elsewhere(struct others *others, const char *name, const struct bf_vmware_disk *own,
                          const struct bf_vmware_disk *theirs)
{
    bool writes = !bf_streq(theirs->mode, "independent_nonpersistent");
    bf_auto_free char *found = bf_xasprintf("%s is attached to machine %s", theirs->file, name);

    bf_findings_add(others->findings, writes ? BF_SEVERITY_BLOCK : BF_SEVERITY_WARN,
                    "vmware-disk-elsewhere", own->key, found, "files of this machine alone",
                    writes ? "what the other machine writes is not in the change map"
                           : "the file stays locked as long as it hangs there, so that snapshots "
                             "cannot be merged; as a rule a backup has left it behind",
                    "detach it from the other machine, without deleting its file; or remove that "
                    "machine from the inventory, if it is registered twice");
}

/* What hangs on a mover of ours is the business of precheck_mover.c. */
static int take_other(const char *id, xmlNodePtr object, void *user)
{
    struct others *others = user;
    xmlNodePtr devices = bf_vmware_property(object, "config.hardware.device");
    bf_auto_free char *name = bf_vmware_text(bf_vmware_property(object, "name"), "");
    bf_auto_vmware_machine *other = bf_xcalloc(1, sizeof(*other));

    other->machine = bf_machine_new();
    if (devices && !is_mover(others->vw, id))
        bf_vmware_devices_parse(devices, other);
    for (size_t i = 0; i < others->machine->disk_count; i++) {
        for (size_t j = 0; j < other->disk_count; j++) {
            if (collide(&others->machine->disks[i], &other->disks[j]))
                add_elsewhere(others, name ? name : id, &others->machine->disks[i],
                              &other->disks[j]);
        }
    }
    return 0;
}

int bf_vmware_precheck_elsewhere(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                                 struct bf_findings *findings, struct bf_error *err)
{
    static const char *const users[] = {"vm", NULL};
    static const char *const paths[] = {"name", "config.hardware.device", NULL};
    bf_cleanup(others_done) struct others others = {
        .vw = vw, .machine = machine, .findings = findings};

    for (char **at = machine->datastores; at && *at; at++) {
        if (bf_vmware_get(vw, "Datastore", *at, users, take_users, &others, err) < 0 &&
            bf_vmware_unless_hidden(vw, "datastore", *at, err) < 0)
            return -1;
    }
    if (bf_vmware_get_many(vw, "VirtualMachine", others.ids, others.count, paths, take_other,
                           &others, err) < 0)
        return bf_vmware_unless_hidden(vw, "machines on the datastores of", machine->machine->id,
                                       err);
    return 0;
}
