/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/hotadd.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/clone.h"
#include "connectors/vmware/mover_choice.h"

struct bf_vmware_hotadd {
    struct bf_vmware_hotadd *next;
    char *snapshot, *key;
    char *tag;
    size_t mover;  /* index of the one that it hangs on */
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

static int verify(struct bf_vmware *vw, const char *mover_id, const char *disk_id,
                  const struct wanted *wanted, struct bf_error *err)
{
    bf_auto_vmware_mover mover = {0};
    const struct bf_vmware_disk *disk;

    if (bf_vmware_mover_get(vw, mover_id, &mover, err) < 0)
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

/* Of the movers that reach the machine's disks those that have no twin of this one. */
static int candidates(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                      const char *disk_id, const char *uuid, size_t *list, size_t *ret_count,
                      struct bf_error *err)
{
    size_t count = 0, kept = 0;

    if (bf_vmware_movers_choose(vw, machine, list, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        bf_auto_vmware_mover mover = {0};

        bf_error_clear(err); /* of a twin on another mover */
        if (bf_vmware_mover_get(vw, vw->conf.movers.list[list[i]].id, &mover, err) < 0)
            return -1;
        if (check_twins(&mover, disk_id, uuid, err) == 0)
            list[kept++] = list[i];
    }
    if (kept == 0)
        return -1;
    bf_error_clear(err);
    *ret_count = kept;
    return 0;
}

static int attach(struct bf_vmware *vw, struct bf_vmware_hotadd *hotadd,
                  const struct bf_vmware_machine *machine, const char *file,
                  const struct wanted *wanted, struct bf_error *err)
{
    bf_auto_free char *disk_id = bf_vmware_mover_disk_id(machine->machine->id, file);
    const struct bf_mover_request request = {.disk = disk_id,
                                             .tag = hotadd->tag,
                                             .size_bytes = wanted->size_bytes,
                                             .holding = vw->hotadds != NULL};
    struct bf_deadline deadline = bf_deadline_in(vw->conf.nfc_wait_s * 1000);
    struct bf_mover_conf confs[BF_MOVERS_MAX];
    size_t list[BF_MOVERS_MAX], count = 0, chosen = 0;
    bf_auto_error second = BF_ERROR_INIT;

    if (candidates(vw, machine, disk_id, wanted->uuid, list, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        confs[i] = bf_vmware_mover_conf(vw, list[i]);
    if (bf_mover_attach_any(&vw->base, confs, count, &request, deadline, &chosen, &hotadd->spec,
                            err) < 0) {
        if (err->code == BF_E_MOVER_FULL && request.holding)
            bf_error_recode(err, BF_E_SOURCE_FULL);
        return -1;
    }
    hotadd->mover = list[chosen];
    hotadd->disk_id = bf_steal(disk_id);
    if (verify(vw, confs[chosen].id, hotadd->disk_id, wanted, err) == 0)
        return 0;
    if (bf_mover_detach(&vw->base, &confs[chosen], hotadd->disk_id, hotadd->tag, &second) < 0)
        return bf_fail_in(err, "mover %s (it stays attached: %s)", confs[chosen].id,
                          second.message);
    return bf_fail_in(err, "mover %s", confs[chosen].id);
}

static int attach_file(struct bf_vmware *vw, struct bf_vmware_hotadd *hotadd,
                       const struct bf_vmware_machine *machine,
                       const struct bf_vmware_ref_disk *disk, struct bf_error *err)
{
    const struct wanted wanted = {.uuid = disk->uuid,
                                  .file = disk->file,
                                  .content_id = disk->content_id,
                                  .size_bytes = disk->size_bytes};

    return attach(vw, hotadd, machine, disk->file, &wanted, err);
}

/* The clone's disk must stand on the snapshot's file. */
static int attach_clone(struct bf_vmware *vw, struct bf_vmware_hotadd *hotadd,
                        const struct bf_vmware_machine *source, const char *clone,
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
    return attach(vw, hotadd, source, cloned->file, &wanted, err);
}

/* Of the first mover that reaches the machine and has one; NULL: none has. */
static int clone_folder(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                        const char **ret_folder, struct bf_error *err)
{
    size_t list[BF_MOVERS_MAX], count = 0;

    if (bf_vmware_movers_choose(vw, machine, list, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count && !*ret_folder; i++)
        *ret_folder = vw->conf.clone_folders[list[i]];
    return 0;
}

static int open_one(struct bf_vmware *vw, struct bf_vmware_hotadd *hotadd,
                    const struct bf_vmware_machine *machine, const struct bf_vmware_moment *moment,
                    const struct bf_vmware_ref_disk *disk, struct bf_error *err)
{
    bf_auto_free char *clone = NULL;
    const char *folder = NULL;

    if (bf_vmware_clone_find(vw, moment->machine, moment->tag, &clone, err) < 0)
        return -1;
    if (!clone) {
        if (attach_file(vw, hotadd, machine, disk, err) == 0)
            return 0;
        if (!bf_vmware_mover_locked(vw))
            return -1;
        bf_auto_error locked = BF_ERROR_INIT;
        bf_error_move(&locked, err);
        if (clone_folder(vw, machine, &folder, err) < 0)
            return -1;
        if (!folder) {
            bf_error_move(err, &locked);
            return bf_fail_in(err, "the host does not let the snapshot's file be attached, and "
                                   "there is no option mover_clone_folder");
        }
        if (bf_vmware_clone_make(vw, folder, machine, moment, &clone, err) < 0)
            return -1;
    }
    return attach_clone(vw, hotadd, machine, clone, disk, err);
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
    bf_auto_error ignored = BF_ERROR_INIT;

    if (!hotadd || --hotadd->users > 0)
        return;
    const struct bf_mover_conf conf = bf_vmware_mover_conf(vw, hotadd->mover);
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
    for (size_t i = 0; i < vw->conf.movers.count; i++) {
        const struct bf_mover_conf conf = bf_vmware_mover_conf(vw, i);

        if (bf_mover_detach_tag(&vw->base, &conf, tag, err) < 0) {
            if (err->code != BF_E_NO_SUCH_MACHINE)
                return bf_fail_in(err, "the snapshot stays while its files are attached");
            bf_error_clear(err); /* nothing hangs on a mover that is not there */
        }
    }
    return bf_vmware_clone_remove(vw, machine_id, tag, err);
}

struct tagged {
    bf_tagged_fn *fn;
    void *user;
    bool stopped;
};

static int take_attached(const struct bf_mover_disk *disk, void *user)
{
    struct tagged *tagged = user;
    bf_auto_vmware_moment moment = {.machine = bf_vmware_mover_disk_machine(disk->disk),
                                    .tag = bf_xstrdup(disk->tag)};
    bf_auto_free char *ref = bf_vmware_moment_write(&moment);

    tagged->stopped = tagged->fn("snapshot", disk->tag, ref, disk->disk, tagged->user) != 0;
    return tagged->stopped;
}

int bf_vmware_hotadd_tagged(struct bf_vmware *vw, bf_tagged_fn *fn, void *user,
                            struct bf_error *err)
{
    struct tagged tagged = {.fn = fn, .user = user};

    for (size_t i = 0; i < vw->conf.movers.count && !tagged.stopped; i++) {
        const struct bf_mover_conf conf = bf_vmware_mover_conf(vw, i);

        if (bf_mover_list(&vw->base, &conf, take_attached, &tagged, err) == 0)
            continue;
        if (err->code != BF_E_NO_SUCH_MACHINE)
            return -1;
        bf_error_clear(err);
    }
    return 0;
}
