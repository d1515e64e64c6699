/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/hotadd.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/clone.h"

struct bf_vmware_hotadd {
    struct bf_vmware_hotadd *next;
    char *snapshot, *key;
    char *tag;
    char *disk_id; /* of the mover's */
    struct bf_endpoint_spec spec;
    unsigned users;
};

static struct bf_vmware_hotadd *find(const struct bf_vmware *vw,
                                     const struct bf_vmware_moment *moment,
                                     const struct bf_vmware_ref_disk *disk)
{
    struct bf_vmware_hotadd *hotadd = vw->hotadds;

    while (hotadd &&
           !(bf_streq(hotadd->snapshot, moment->snapshot) && bf_streq(hotadd->key, disk->key)))
        hotadd = hotadd->next;
    return hotadd;
}

static void hotadd_free(struct bf_vmware_hotadd *hotadd)
{
    free(hotadd->snapshot);
    free(hotadd->key);
    free(hotadd->tag);
    free(hotadd->disk_id);
    bf_endpoint_spec_done(&hotadd->spec);
    free(hotadd);
}

/* --- identity --- */

/* What an attached disk has to be. */
struct wanted {
    const char *uuid;
    const char *file;       /* that its bytes come from */
    const char *content_id; /* of that file; NULL unknown */
    uint64_t size_bytes;
};

static int changed(const char *what, const char *found, const char *needed, struct bf_error *err)
{
    return bf_fail(err, BF_E_DISK_CHANGED, 0,
                   "the disk that is attached to the mover is another one: its %s is %s instead of "
                   "%s",
                   what, found ? found : "unknown", needed ? needed : "unknown");
}

/* The file is the disk's own or its parent: a redo log, or a linked clone, may be on top. */
static int compare(const struct bf_vmware_disk *disk, const struct wanted *wanted,
                   struct bf_error *err)
{
    bool parent = bf_streq(disk->parent_file, wanted->file);
    const char *content_id = parent ? disk->parent_content_id : disk->content_id;

    if (!parent && !bf_streq(disk->file, wanted->file))
        return changed("file", disk->file, wanted->file, err);
    if (!wanted->uuid || !disk->uuid || strcasecmp(disk->uuid, wanted->uuid) != 0)
        return changed("uuid", disk->uuid, wanted->uuid, err);
    if (content_id && wanted->content_id && !bf_streq(content_id, wanted->content_id))
        return changed("content id", content_id, wanted->content_id, err);
    if (disk->size_bytes && disk->size_bytes != wanted->size_bytes) {
        bf_auto_free char *found = bf_xasprintf("%llu", (unsigned long long)disk->size_bytes);
        bf_auto_free char *needed = bf_xasprintf("%llu", (unsigned long long)wanted->size_bytes);

        return changed("size", found, needed, err);
    }
    return 0;
}

/* Two disks with one uuid cannot be told apart by the guest, which then serves neither. */
static int check_twins(const struct bf_vmware_mover *mover, const char *disk_id, const char *uuid,
                       struct bf_error *err)
{
    const struct bf_vmware_disk *disk = bf_vmware_mover_disk(mover, disk_id);

    for (size_t i = 0; uuid && i < mover->machine->disk_count; i++) {
        const struct bf_vmware_disk *other = &mover->machine->disks[i];

        if (other != disk && other->uuid && strcasecmp(other->uuid, uuid) == 0)
            return bf_fail(err, BF_E_IN_USE, 0,
                           "%s is attached to the mover as well and has the same uuid",
                           other->file ? other->file : other->key);
    }
    return 0;
}

static int verify(struct bf_vmware *vw, const char *disk_id, const struct wanted *wanted,
                  struct bf_error *err)
{
    bf_auto_vmware_mover mover = {0};
    const struct bf_vmware_disk *disk;

    if (bf_vmware_mover_get(vw, &mover, err) < 0)
        return -1;
    disk = bf_vmware_mover_disk(&mover, disk_id);
    if (!disk)
        return bf_fail(err, BF_E_DISK_CHANGED, 0, "%s is not attached to the mover any more",
                       disk_id);
    if (check_twins(&mover, disk_id, disk->uuid, err) < 0)
        return -1;
    return compare(disk, wanted, err);
}

/* --- opening --- */

static int attach(struct bf_vmware *vw, struct bf_vmware_hotadd *hotadd, const char *machine,
                  const char *file, const struct wanted *wanted, struct bf_error *err)
{
    const struct bf_mover_conf conf = bf_vmware_mover_conf(vw);
    bf_auto_free char *disk_id = bf_vmware_mover_disk_id(machine, file);
    const struct bf_mover_request request = {.disk = disk_id,
                                             .tag = hotadd->tag,
                                             .size_bytes = wanted->size_bytes,
                                             .holding = vw->hotadds != NULL};
    struct bf_deadline deadline = bf_deadline_in(vw->conf.nfc_wait_s * 1000);
    bf_auto_error second = BF_ERROR_INIT;
    bf_auto_vmware_mover before = {0};

    if (bf_vmware_mover_get(vw, &before, err) < 0 ||
        check_twins(&before, disk_id, wanted->uuid, err) < 0)
        return -1;
    if (bf_mover_attach(&vw->base, &conf, &request, deadline, &hotadd->spec, err) < 0) {
        if (err->code == BF_E_MOVER_FULL && request.holding)
            bf_error_recode(err, BF_E_SOURCE_FULL);
        return -1;
    }
    hotadd->disk_id = bf_steal(disk_id);
    if (verify(vw, hotadd->disk_id, wanted, err) == 0)
        return 0;
    if (bf_mover_detach(&vw->base, &conf, hotadd->disk_id, hotadd->tag, &second) < 0)
        return bf_fail_in(err, "mover %s (it stays attached: %s)", conf.id, second.message);
    return bf_fail_in(err, "mover %s", conf.id);
}

static int attach_file(struct bf_vmware *vw, struct bf_vmware_hotadd *hotadd,
                       const struct bf_vmware_moment *moment, const struct bf_vmware_ref_disk *disk,
                       struct bf_error *err)
{
    const struct wanted wanted = {.uuid = disk->uuid,
                                  .file = disk->file,
                                  .content_id = disk->content_id,
                                  .size_bytes = disk->size_bytes};

    return attach(vw, hotadd, moment->machine, disk->file, &wanted, err);
}

/* The clone's disk must stand on the snapshot's file. */
static int attach_clone(struct bf_vmware *vw, struct bf_vmware_hotadd *hotadd, const char *clone,
                        const struct bf_vmware_moment *moment,
                        const struct bf_vmware_ref_disk *disk, struct bf_error *err)
{
    bf_auto_vmware_machine *machine = NULL;
    const struct bf_vmware_disk *cloned;

    if (bf_vmware_machine_get(vw, clone, BF_E_MACHINE_GONE, &machine, err) < 0)
        return -1;
    cloned = bf_vmware_machine_disk(machine, disk->key);
    if (!cloned || !cloned->file || !bf_streq(cloned->parent_file, disk->file) ||
        (cloned->parent_content_id && disk->content_id &&
         !bf_streq(cloned->parent_content_id, disk->content_id)))
        return bf_fail(err, BF_E_DISK_CHANGED, 0,
                       "the linked clone's disk %s does not stand on the snapshot's file %s",
                       disk->key, disk->file);
    const struct wanted wanted = {.uuid = cloned->uuid,
                                  .file = cloned->file,
                                  .content_id = cloned->content_id,
                                  .size_bytes = disk->size_bytes};
    return attach(vw, hotadd, moment->machine, cloned->file, &wanted, err);
}

static int open_one(struct bf_vmware *vw, struct bf_vmware_hotadd *hotadd,
                    const struct bf_vmware_machine *machine, const struct bf_vmware_moment *moment,
                    const struct bf_vmware_ref_disk *disk, struct bf_error *err)
{
    bf_auto_free char *clone = NULL;

    if (bf_vmware_clone_find(vw, moment->machine, moment->tag, &clone, err) < 0)
        return -1;
    if (!clone) {
        if (attach_file(vw, hotadd, moment, disk, err) == 0)
            return 0;
        if (!bf_vmware_mover_locked(vw))
            return -1;
        if (!vw->conf.mover_clone_folder)
            return bf_fail_in(err, "the host does not let the snapshot's file be attached, and "
                                   "there is no option mover_clone_folder");
        bf_error_clear(err);
        if (bf_vmware_clone_make(vw, machine, moment, &clone, err) < 0)
            return -1;
    }
    return attach_clone(vw, hotadd, clone, moment, disk, err);
}

int bf_vmware_hotadd_open(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                          const struct bf_vmware_moment *moment,
                          const struct bf_vmware_ref_disk *disk,
                          struct bf_vmware_hotadd **ret_hotadd, struct bf_error *err)
{
    struct bf_vmware_hotadd *hotadd = find(vw, moment, disk);

    if (hotadd) {
        hotadd->users++;
        *ret_hotadd = hotadd;
        return 0;
    }
    if (!disk->file)
        return bf_fail(err, BF_E_DISK_UNSUPPORTED, 0, "disk %s has no file", disk->key);
    hotadd = bf_xcalloc(1, sizeof(*hotadd));
    hotadd->tag = bf_xstrdup(moment->tag);
    hotadd->snapshot = bf_xstrdup(moment->snapshot);
    hotadd->key = bf_xstrdup(disk->key);
    if (open_one(vw, hotadd, machine, moment, disk, err) < 0) {
        hotadd_free(hotadd);
        return -1;
    }
    hotadd->users = 1;
    hotadd->next = vw->hotadds;
    vw->hotadds = hotadd;
    *ret_hotadd = hotadd;
    return 0;
}

const struct bf_endpoint_spec *bf_vmware_hotadd_spec(const struct bf_vmware_hotadd *hotadd)
{
    return &hotadd->spec;
}

/* Also after a cancel.  What cannot be detached now goes with the snapshot. */
void bf_vmware_hotadd_close(struct bf_vmware *vw, struct bf_vmware_hotadd *hotadd)
{
    struct bf_vmware_hotadd **at = &vw->hotadds;
    const struct bf_mover_conf conf = bf_vmware_mover_conf(vw);
    bf_auto_error ignored = BF_ERROR_INIT;

    if (!hotadd || --hotadd->users > 0)
        return;
    bool removing = atomic_exchange(&vw->base.removing, true);
    (void)bf_mover_detach(&vw->base, &conf, hotadd->disk_id, hotadd->tag, &ignored);
    atomic_store(&vw->base.removing, removing);
    while (*at != hotadd)
        at = &(*at)->next;
    *at = hotadd->next;
    hotadd_free(hotadd);
}

/* --- the end of a snapshot --- */

int bf_vmware_hotadd_release(struct bf_vmware *vw, const char *machine_id, const char *tag,
                             struct bf_error *err)
{
    const struct bf_mover_conf conf = bf_vmware_mover_conf(vw);

    if (!conf.id)
        return 0;
    if (bf_mover_detach_tag(&vw->base, &conf, tag, err) < 0) {
        if (err->code != BF_E_NO_SUCH_MACHINE)
            return bf_fail_in(err, "the snapshot stays while its files are attached");
        bf_error_clear(err); /* nothing hangs on a mover that is not there */
    }
    return bf_vmware_clone_remove(vw, machine_id, tag, err);
}

struct tagged {
    bf_tagged_fn *fn;
    void *user;
};

static int take_attached(const struct bf_mover_disk *disk, void *user)
{
    const struct tagged *tagged = user;
    bf_auto_vmware_moment moment = {.machine = bf_vmware_mover_disk_machine(disk->disk),
                                    .tag = bf_xstrdup(disk->tag)};
    bf_auto_free char *ref = bf_vmware_moment_write(&moment);

    return tagged->fn("snapshot", disk->tag, ref, disk->disk, tagged->user);
}

int bf_vmware_hotadd_tagged(struct bf_vmware *vw, bf_tagged_fn *fn, void *user,
                            struct bf_error *err)
{
    const struct bf_mover_conf conf = bf_vmware_mover_conf(vw);
    struct tagged tagged = {.fn = fn, .user = user};

    if (!conf.id)
        return 0;
    if (bf_mover_list(&vw->base, &conf, take_attached, &tagged, err) == 0)
        return 0;
    if (err->code != BF_E_NO_SUCH_MACHINE)
        return -1;
    bf_error_clear(err);
    return 0;
}
