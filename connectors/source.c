/* SPDX-License-Identifier: Apache-2.0 */
/* The front of a platform as a source. */
#include "connectors/source.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/front.h"

static int no_source(const struct bf_platform *platform, struct bf_error *err)
{
    return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "platform %s (%s) cannot be a source",
                   platform->name, platform->ops->type);
}

int bf_source_precheck(struct bf_platform *platform, const struct bf_machine *machine,
                       struct bf_findings *findings, struct bf_error *err)
{
    assert(machine && findings);
    if (bf_front_enter(platform, err) < 0)
        return -1;
    if (!platform->ops->source)
        return no_source(platform, err);
    return bf_front_leave(platform,
                          platform->ops->source->precheck(platform, machine, findings, err), err);
}

int bf_source_prepare(struct bf_platform *platform, const char *machine_id, struct bf_error *err)
{
    assert(machine_id);
    if (bf_front_enter(platform, err) < 0)
        return -1;
    if (!platform->ops->source)
        return no_source(platform, err);
    if (!platform->ops->source->prepare)
        return 0;
    return bf_front_leave(platform, platform->ops->source->prepare(platform, machine_id, err), err);
}

int bf_source_snapshot(struct bf_platform *platform, const struct bf_snapshot_request *request,
                       struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    struct bf_snapshot *snapshot = NULL;

    assert(request && request->machine_id && bf_tag_valid(request->tag));
    assert(request->disk_keys && request->disk_keys[0] && ret_snapshot);
    if (bf_front_enter(platform, err) < 0)
        return -1;
    if (!platform->ops->source)
        return no_source(platform, err);
    int rc = platform->ops->source->snapshot(platform, request, &snapshot, err);
    if (bf_front_leave(platform, rc, err) < 0)
        return -1;
    assert(snapshot && snapshot->ref);
    for (size_t i = 0; request->disk_keys[i]; i++) {
        assert(i < snapshot->disk_count);
        assert(bf_streq(snapshot->disks[i].key, request->disk_keys[i]));
        assert(!snapshot->disks[i].delta || request->baseline);
    }
    *ret_snapshot = snapshot;
    return 0;
}

void bf_snapshot_free(struct bf_snapshot *snapshot)
{
    if (!snapshot)
        return;
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        free(snapshot->disks[i].key);
        free(snapshot->disks[i].reason);
    }
    free(snapshot->disks);
    free(snapshot->ref);
    free(snapshot->baseline);
    free(snapshot->quiesce_note);
    free(snapshot);
}

int bf_source_locate_disk(struct bf_platform *platform, const char *machine_id, const char *key,
                          char **ret_place, struct bf_error *err)
{
    assert(machine_id && key && ret_place);
    if (bf_front_enter(platform, err) < 0)
        return -1;
    if (!platform->ops->source)
        return no_source(platform, err);
    if (!platform->ops->source->locate_disk)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "disks on platforms of type %s cannot be adopted", platform->ops->type);
    int rc = platform->ops->source->locate_disk(platform, machine_id, key, ret_place, err);
    return bf_front_leave(platform, rc, err);
}

int bf_source_open_disk(struct bf_platform *platform, const char *snapshot_ref, const char *key,
                        struct bf_source_disk **ret_disk, struct bf_error *err)
{
    struct bf_source_disk *disk = NULL;

    assert(snapshot_ref && key && ret_disk);
    if (bf_front_enter(platform, err) < 0)
        return -1;
    if (!platform->ops->source)
        return no_source(platform, err);
    int rc = platform->ops->source->open_disk(platform, snapshot_ref, key, &disk, err);
    if (bf_front_leave(platform, rc, err) < 0)
        return -1;
    assert(disk && disk->platform == platform && disk->spec.uri && disk->spec.format);
    *ret_disk = disk;
    return 0;
}

const struct bf_endpoint_spec *bf_source_disk_spec(const struct bf_source_disk *disk)
{
    return &disk->spec;
}

void bf_source_close_disk(struct bf_source_disk *disk)
{
    if (!disk)
        return;
    bf_endpoint_spec_done(&disk->spec);
    disk->platform->ops->source->close_disk(disk);
}

int bf_source_check_snapshot(struct bf_platform *platform, const char *snapshot_ref,
                             struct bf_error *err)
{
    assert(snapshot_ref);
    bf_front_enter(platform, err);
    if (!platform->ops->source)
        return no_source(platform, err);
    int rc = platform->ops->source->check_snapshot
                 ? platform->ops->source->check_snapshot(platform, snapshot_ref, err)
                 : 0;
    return bf_front_leave(platform, rc, err);
}

int bf_source_release(struct bf_platform *platform, const char *machine_id,
                      const char *snapshot_ref, struct bf_error *err)
{
    assert(machine_id && snapshot_ref);
    bf_front_enter_removal(platform, err);
    if (!platform->ops->source)
        return no_source(platform, err);
    int rc = platform->ops->source->release(platform, machine_id, snapshot_ref, err);
    return bf_front_leave(platform, rc, err);
}

int bf_source_release_tag(struct bf_platform *platform, const char *machine_id, const char *tag,
                          struct bf_error *err)
{
    assert(machine_id && bf_tag_valid(tag));
    bf_front_enter_removal(platform, err);
    if (!platform->ops->source)
        return no_source(platform, err);
    return bf_front_leave(platform,
                          platform->ops->source->release_tag(platform, machine_id, tag, err), err);
}

int bf_source_drop_baseline(struct bf_platform *platform, const char *machine_id,
                            const char *baseline, struct bf_error *err)
{
    assert(machine_id && baseline);
    bf_front_enter_removal(platform, err);
    if (!platform->ops->source)
        return no_source(platform, err);
    if (!platform->ops->source->drop_baseline)
        return bf_front_leave(platform, 0, err);
    int rc = platform->ops->source->drop_baseline(platform, machine_id, baseline, err);
    return bf_front_leave(platform, rc, err);
}

int bf_source_firmware_vars(struct bf_platform *platform, const struct bf_machine *machine,
                            char **ret_data, size_t *ret_size, char **ret_note,
                            struct bf_error *err)
{
    int rc;

    assert(machine && ret_data && ret_size && ret_note);
    *ret_data = *ret_note = NULL;
    if (machine->firmware == BF_FIRMWARE_BIOS)
        return 0;
    if (bf_front_enter(platform, err) < 0)
        return -1;
    if (!platform->ops->source)
        return no_source(platform, err);
    if (!platform->ops->source->firmware_vars) {
        *ret_note = bf_xasprintf("platforms of type %s do not give them", platform->ops->type);
        return 0;
    }
    rc = platform->ops->source->firmware_vars(platform, machine, ret_data, ret_size, ret_note, err);
    assert(rc != 0 || !*ret_data != !*ret_note);
    return bf_front_leave(platform, rc, err);
}
