/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot of a running machine: one backup job in pull mode over all its disks, with a
 * checkpoint made in the same call, so that not one write falls between "end of this round's
 * content" and "begin of the next round's change map".
 *
 * What only this call knows (was it quiesced, why is a disk not a delta) is written into the
 * checkpoint's description, so that a service that died right after the call finds it again.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/libvirt/job_files.h"
#include "connectors/libvirt/snapshot.h"
#include "connectors/libvirt/socket_access.h"

#define JOB_SETTLE_MS 30000
#define JOB_END_MS 60000
#define PORT_TRIES 8

/* --- the running job --- */

int bf_libvirt_job_get(struct bf_libvirt *lv, virDomainPtr vir, struct bf_libvirt_job *ret_job,
                       bool *ret_found, struct bf_error *err)
{
    bf_auto_free char *xml = virDomainBackupGetXMLDesc(vir, 0);

    *ret_found = xml;
    if (xml)
        return bf_libvirt_job_read(xml, ret_job, err);
    int code = bf_libvirt_last();
    /* OPERATION_INVALID: it is off, so no job is there. */
    if (code == VIR_ERR_NO_DOMAIN_BACKUP || code == VIR_ERR_OPERATION_INVALID)
        return 0;
    return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "backup job of machine %s",
                           virDomainGetName(vir));
}

/* libvirtd 9.0 crashes when a job that is just being made is aborted, or its checkpoint deleted
 * (qemuBackupBegin() drops the domain's lock while it talks to QEMU).  A service that died in the
 * middle of that call comes back to just this.  Until the job is known to libvirt at all, asking
 * for its statistics is an error of its own; until its disks run, the space for their scratch
 * files counts as 0. */
enum phase { PHASE_NONE, PHASE_MAKING, PHASE_RUNNING };

static enum phase job_phase(virDomainPtr vir)
{
    virTypedParameterPtr params = NULL;
    int type = VIR_DOMAIN_JOB_NONE, count = 0, operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
    unsigned long long scratch_bytes = 0;

    if (virDomainGetJobStats(vir, &type, &params, &count, 0) < 0)
        return bf_libvirt_last() == VIR_ERR_INTERNAL_ERROR ? PHASE_MAKING : PHASE_NONE;
    (void)virTypedParamsGetInt(params, count, VIR_DOMAIN_JOB_OPERATION, &operation);
    (void)virTypedParamsGetULLong(params, count, VIR_DOMAIN_JOB_DISK_TEMP_TOTAL, &scratch_bytes);
    virTypedParamsFree(params, count);
    if (type == VIR_DOMAIN_JOB_NONE || operation != VIR_DOMAIN_JOB_OPERATION_BACKUP)
        return PHASE_NONE;
    return scratch_bytes ? PHASE_RUNNING : PHASE_MAKING;
}

bool bf_libvirt_job_in_making(virDomainPtr vir)
{
    return job_phase(vir) == PHASE_MAKING;
}

int bf_libvirt_job_settle(struct bf_libvirt *lv, virDomainPtr vir, struct bf_libvirt_job *ret_job,
                          bool *ret_found, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(JOB_SETTLE_MS);

    for (;;) {
        bf_libvirt_job_done(ret_job);
        if (bf_libvirt_job_get(lv, vir, ret_job, ret_found, err) < 0)
            return -1;
        enum phase phase = job_phase(vir);
        if (phase == (*ret_found ? PHASE_RUNNING : PHASE_NONE) || virDomainIsActive(vir) != 1)
            return bf_libvirt_check(lv, err);
        /* What stays half made is of a libvirtd that was killed in that moment.  If the new one
         * knows the job, it can be ended; else nothing but the machine's end frees the slot. */
        if (bf_deadline_passed(deadline) && *ret_found)
            return 0;
        if (bf_deadline_passed(deadline))
            return bf_fail(err, BF_E_MACHINE_STATE, 0,
                           "machine %s: libvirtd died while it made a backup job, and holds the "
                           "machine's slot for jobs since; shut the machine down and start it "
                           "again",
                           virDomainGetName(vir));
        if (bf_platform_pause(&lv->base, 50, (struct bf_deadline){0}, err) < 0)
            return -1;
    }
}

int bf_libvirt_job_end(struct bf_libvirt *lv, virDomainPtr vir, const char *tag,
                       struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(JOB_END_MS);

    for (;;) {
        bf_auto_libvirt_job job = {0};
        char found_tag[BF_TAG_LENGTH + 1];
        bool found = false;
        /* Also waits for the end of a job that was aborted: the next snapshot needs it gone. */
        if (bf_libvirt_job_settle(lv, vir, &job, &found, err) < 0) {
            if (err->code != BF_E_MACHINE_STATE)
                return bf_fail_in(err, "ending backup job %s", tag);
            bf_error_clear(err); /* there is no job that could be ended */
            return 0;
        }
        if (!found || !bf_streq(bf_libvirt_job_tag(&job, found_tag), tag))
            return 0;
        if (bf_deadline_passed(deadline))
            return bf_fail(err, BF_E_BUSY, 0, "backup job %s does not end", tag);
        if (virDomainAbortJob(vir) < 0 && bf_libvirt_last() != VIR_ERR_OPERATION_INVALID)
            return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "ending backup job %s", tag);
    }
}

void bf_libvirt_job_ref(const struct bf_libvirt_domain *domain, const struct bf_libvirt_job *job,
                        const char *tag, struct bf_libvirt_ref *ret_ref)
{
    struct bf_libvirt_ref ref = {
        .machine_id = bf_xstrdup(domain->machine->id),
        .tag = bf_xstrdup(tag),
        .socket = bf_xstrdup(job->socket),
        .address = bf_xstrdup(job->address),
        .port = job->socket ? 0 : job->port,
        .tls = !job->socket && job->tls,
        .disks = bf_xcalloc(job->disk_count + 1, sizeof(*ref.disks)),
    };

    for (size_t i = 0; i < job->disk_count; i++) {
        const struct bf_libvirt_job_disk *disk = &job->disks[i];
        const struct bf_machine_disk *described = bf_machine_disk(domain->machine, disk->dev);
        if (!disk->included || !described)
            continue;
        bool delta = job->incremental && !disk->full;
        ref.disks[ref.disk_count++] = (struct bf_libvirt_ref_disk){
            .key = bf_xstrdup(disk->dev),
            .path = bf_xstrdup(described->source),
            .format = bf_xstrdup(described->format),
            .bitmap = delta ? bf_xasprintf("backup-%s", disk->dev) : NULL,
            .size_bytes = described->size_bytes,
        };
    }
    *ret_ref = ref;
}

/* --- notes in the checkpoint's description --- */

#define NOTES_MARK "blockferry "

static char *write_notes(const struct bf_libvirt_plan *plan, bool quiesced, const char *note,
                         int64_t taken_us)
{
    bf_auto_json *json = json_object_new_object();
    struct json_object *reasons = json_object_new_object();

    bf_json_add_bool(json, "quiesced", quiesced);
    bf_json_add_string(json, "note", note);
    bf_json_add_u64(json, "taken_us", (uint64_t)taken_us);
    for (size_t i = 0; i < plan->disk_count; i++) {
        if (plan->disks[i].reason)
            bf_json_add_string(reasons, plan->disks[i].disk->dev, plan->disks[i].reason);
    }
    json_object_object_add(json, "reasons", reasons);
    return bf_xasprintf(NOTES_MARK "%s", bf_json_text(json));
}

/* The job's own XML says which disks are a delta; the notes say why the others are not. */
static int read_notes(const char *checkpoint_xml, struct bf_libvirt_plan *plan,
                      struct bf_libvirt_ref *ref, bool *ret_quiesced, char **ret_note,
                      struct bf_error *err)
{
    bf_auto_free char *text = bf_libvirt_checkpoint_description(checkpoint_xml);
    bf_auto_json *json = NULL;
    struct json_object *reasons;
    const char *note = NULL;
    uint64_t taken_us;

    if (!text || !bf_starts_with(text, NOTES_MARK))
        return bf_fail(err, BF_E_PROTOCOL, 0, "checkpoint without a description of ours");
    const char *body = text + strlen(NOTES_MARK);
    if (bf_json_parse(body, strlen(body), &json, err) < 0 ||
        bf_json_get_bool(json, "", "quiesced", ret_quiesced, err) < 0 ||
        bf_json_opt_string(json, "", "note", &note, err) < 0 ||
        bf_json_get_u64(json, "", "taken_us", &taken_us, err) < 0 ||
        bf_json_get_object(json, "", "reasons", &reasons, err) < 0)
        return -1;
    for (size_t i = 0; i < plan->disk_count; i++) {
        const char *reason = NULL;
        if (bf_json_opt_string(reasons, "reasons", plan->disks[i].disk->dev, &reason, err) < 0)
            return -1;
        free(plan->disks[i].reason);
        plan->disks[i].reason = bf_xstrdup(reason);
    }
    ref->taken_us = (int64_t)taken_us;
    *ret_note = bf_xstrdup(note);
    return 0;
}

/* --- making the job --- */

struct making {
    struct bf_libvirt *lv;
    virDomainPtr vir;
    struct bf_libvirt_plan *plan;
    struct bf_libvirt_job job;
    bool frozen;
    char *note;
    int64_t taken_us;
};

static void making_done(struct making *making)
{
    bf_libvirt_job_done(&making->job);
    free(making->note);
}

static bool asked_for(const struct bf_libvirt_plan *plan, const char *dev, bool *ret_delta)
{
    for (size_t i = 0; i < plan->disk_count; i++) {
        if (bf_streq(plan->disks[i].disk->dev, dev)) {
            *ret_delta = plan->disks[i].delta;
            return true;
        }
    }
    return false;
}

static void describe_job(struct making *making)
{
    const struct bf_libvirt_plan *plan = making->plan;
    const struct bf_libvirt_conf *conf = &making->lv->conf;
    const char *tag = plan->request->tag;

    bf_libvirt_job_done(&making->job);
    making->job = (struct bf_libvirt_job){
        .incremental =
            bf_libvirt_plan_has_delta(plan) ? bf_xstrdup(plan->baseline.checkpoint) : NULL,
        .socket = conf->local ? bf_libvirt_job_socket(making->lv, tag) : NULL,
        .address = conf->local ? NULL : bf_xstrdup(conf->nbd_address),
        .port = conf->nbd_port_first,
        .tls = conf->nbd_tls,
        .disks = bf_xcalloc(plan->domain->disk_count + 1, sizeof(*making->job.disks)),
    };
    for (size_t i = 0; i < plan->domain->disk_count; i++) {
        const struct bf_libvirt_disk *disk = &plan->domain->disks[i];
        bool delta = false;
        bool included = asked_for(plan, disk->dev, &delta);
        if (!included && plan->domain->machine->disks[i].removable)
            continue; /* libvirt does not back up removable media and wants no word about them */
        making->job.disks[making->job.disk_count++] = (struct bf_libvirt_job_disk){
            .dev = bf_xstrdup(disk->dev),
            .included = included,
            .full = !delta,
            .scratch = included ? bf_libvirt_scratch_path(making->lv, disk, tag) : NULL,
        };
    }
}

static char *describe_checkpoint(const struct making *making)
{
    const struct bf_libvirt_plan *plan = making->plan;
    bf_auto_free struct bf_libvirt_checkpoint_disk *disks =
        bf_xcalloc(making->job.disk_count + 1, sizeof(*disks));

    if (!bf_libvirt_plan_tracks(plan))
        return NULL;
    for (size_t i = 0; i < making->job.disk_count; i++) {
        disks[i].dev = making->job.disks[i].dev;
        for (size_t j = 0; j < plan->disk_count; j++) {
            if (bf_streq(plan->disks[j].disk->dev, disks[i].dev))
                disks[i].bitmap = plan->disks[j].tracks;
        }
    }
    bf_auto_free char *notes = write_notes(plan, making->frozen, making->note, making->taken_us);
    return bf_libvirt_checkpoint_write(plan->request->tag, notes, disks, making->job.disk_count, 0);
}

/* See job_files.h: who makes the scratch files decides whether a question may kill the machine. */
static int begin_quietly(struct making *making, const char *xml, const char *checkpoint_xml)
{
    if (making->lv->conf.local)
        return virDomainBackupBegin(making->vir, xml, checkpoint_xml,
                                    VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL);
    bf_libvirt_gate_close();
    int rc = virDomainBackupBegin(making->vir, xml, checkpoint_xml, 0);
    bf_libvirt_gate_open();
    return rc;
}

/* Which port is free on the platform's host is found by trying. */
static int begin_on_some_port(struct making *making, const char *checkpoint_xml)
{
    const struct bf_libvirt_conf *conf = &making->lv->conf;
    uint64_t first = 0;

    for (const char *at = making->plan->request->tag; *at; at++)
        first = first * 31 + (unsigned char)*at;
    for (unsigned i = 0; i < PORT_TRIES; i++) {
        making->job.port = conf->nbd_port_first + (first + i) % conf->nbd_port_count;
        bf_auto_free char *xml = bf_libvirt_job_write(&making->job);
        if (begin_quietly(making, xml, checkpoint_xml) == 0)
            return 0;
        if (making->job.socket || !strstr(bf_libvirt_last_text(), "Address already in use"))
            return -1;
    }
    return -1;
}

/* libvirtd that was killed after it had started QEMU's server for the job, and before it had noted
 * the job, does not know of the server when it comes back; only the machine's end stops it. */
static void fail_to_begin(struct making *making, const char *text, struct bf_error *err)
{
    const char *name = making->plan->domain->machine->name;

    if (strstr(text, "NBD server already running"))
        bf_fail(err, BF_E_MACHINE_STATE, 0,
                "machine %s: its QEMU has an NBD server that libvirt does not know, as after "
                "libvirtd died while it made a backup job; shut the machine down and start it "
                "again",
                name);
    else
        bf_libvirt_fail(making->lv, err, BF_E_SNAPSHOT_FAILED, "backup job of machine %s", name);
    /* Where libvirt answered there is no job.  Where it did not, the tag's release looks. */
    if (virConnectIsAlive(making->lv->conn) == 1)
        bf_libvirt_job_sweep(making->lv, making->plan->domain, making->plan->request->tag);
}

/* 1: made; 0: a bitmap is broken, try again without the baseline; -1: failed */
static int begin(struct making *making, struct bf_error *err)
{
    struct bf_libvirt_plan *plan = making->plan;
    struct bf_libvirt *lv = making->lv;

    describe_job(making);
    bf_libvirt_job_sweep(lv, plan->domain, plan->request->tag);
    if (making->job.socket && !lv->conf.socket_directory && plan->domain->qemu_user >= 0 &&
        bf_libvirt_socket_share(lv->conf.work_directory, (uid_t)plan->domain->qemu_user, err) < 0)
        return -1;
    if (lv->conf.local && bf_libvirt_scratch_make(lv, plan->domain, &making->job, err) < 0)
        return bf_fail_in(err, "machine %s", plan->domain->machine->name);
    free(bf_steal(making->note)); /* of a first try */
    if (bf_libvirt_freeze(lv, making->vir, plan->domain, plan->request->quiesce, &making->frozen,
                          &making->note, err) < 0)
        return -1;
    making->taken_us = bf_utc_us();
    bf_auto_free char *checkpoint_xml = describe_checkpoint(making);
    int rc = begin_on_some_port(making, checkpoint_xml);
    if (rc < 0) {
        int code = bf_libvirt_last();
        bf_auto_free char *text = bf_xstrdup(bf_libvirt_last_text());
        bool broken =
            code == VIR_ERR_CHECKPOINT_INCONSISTENT || code == VIR_ERR_NO_DOMAIN_CHECKPOINT;
        if (broken && bf_libvirt_plan_has_delta(plan)) {
            bf_auto_free char *reason = bf_xasprintf("its dirty bitmap is unusable: %s", text);
            bf_libvirt_plan_make_full(plan, reason);
            rc = 0;
        } else {
            fail_to_begin(making, text, err);
        }
    } else {
        rc = 1;
    }
    /* Before anything else: the guest stands still. */
    if (making->frozen) {
        bf_auto_error thaw = BF_ERROR_INIT;
        if (bf_libvirt_thaw(lv, making->vir, &thaw) < 0) {
            bf_error_clear(err);
            bf_error_move(err, &thaw);
            return -1;
        }
    }
    return rc;
}

static int finish(struct making *making, struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    bf_auto_libvirt_ref ref = {0};
    bf_auto_free char *checkpoint_xml = NULL;
    const char *tag = making->plan->request->tag;

    bf_libvirt_job_ref(making->plan->domain, &making->job, tag, &ref);
    ref.taken_us = making->taken_us;
    if (bf_libvirt_checkpoint_xml(making->lv, making->vir, tag, &checkpoint_xml, err) < 0)
        return -1;
    *ret_snapshot = bf_libvirt_plan_snapshot(making->plan, &ref, checkpoint_xml);
    (*ret_snapshot)->quiesced = making->frozen;
    (*ret_snapshot)->quiesce_note = bf_steal(making->note);
    return 0;
}

/* The job of this tag runs already: a call before this one made it. */
static int adopt(struct making *making, struct bf_libvirt_job *job,
                 struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    struct bf_libvirt_plan *plan = making->plan;
    bf_auto_libvirt_ref ref = {0};
    bf_auto_free char *checkpoint_xml = NULL;
    bf_auto_free char *note = NULL;
    bool quiesced = false;

    bf_libvirt_thaw_quietly(making->vir, plan->domain);
    bf_libvirt_job_ref(plan->domain, job, plan->request->tag, &ref);
    if (bf_libvirt_checkpoint_xml(making->lv, making->vir, plan->request->tag, &checkpoint_xml,
                                  err) < 0)
        return -1;
    for (size_t i = 0; i < plan->disk_count; i++) {
        plan->disks[i].delta = false;
        for (size_t j = 0; j < ref.disk_count; j++) {
            if (bf_streq(ref.disks[j].key, plan->disks[i].disk->dev) && ref.disks[j].bitmap)
                plan->disks[i].delta = true;
        }
    }
    if (checkpoint_xml && read_notes(checkpoint_xml, plan, &ref, &quiesced, &note, err) < 0)
        return -1;
    *ret_snapshot = bf_libvirt_plan_snapshot(plan, &ref, checkpoint_xml);
    (*ret_snapshot)->quiesced = quiesced;
    (*ret_snapshot)->quiesce_note =
        checkpoint_xml ? bf_steal(note) : bf_xstrdup("taken before a restart of the service");
    return 0;
}

static int ensure_baseline(struct making *making, struct bf_error *err)
{
    struct bf_libvirt_plan *plan = making->plan;
    bf_auto_free char *reason = NULL;
    bool known = false;

    if (!bf_libvirt_plan_has_delta(plan))
        return 0;
    if (bf_libvirt_checkpoint_ensure(making->lv, making->vir, &plan->baseline, &known, &reason,
                                     err) < 0)
        return -1;
    if (!known)
        bf_libvirt_plan_make_full(plan, reason);
    return 0;
}

static int make(struct making *making, struct bf_snapshot **ret_snapshot, struct bf_error *err)
{
    struct bf_libvirt_plan *plan = making->plan;

    if (ensure_baseline(making, err) < 0)
        return -1;
    int rc = begin(making, err);
    if (rc == 0) {
        /* The broken checkpoint is of no use to anybody, and libvirt would name it again. */
        bf_auto_error ignored = BF_ERROR_INIT;
        (void)bf_libvirt_checkpoint_delete(making->lv, making->vir, plan->domain,
                                           plan->baseline.checkpoint, NULL, &ignored);
        rc = begin(making, err);
    }
    if (rc < 0)
        return -1;
    return finish(making, ret_snapshot, err);
}

int bf_libvirt_snapshot_running(struct bf_libvirt *lv, virDomainPtr vir,
                                struct bf_libvirt_plan *plan, struct bf_snapshot **ret_snapshot,
                                struct bf_error *err)
{
    struct making making
        __attribute__((cleanup(making_done))) = {.lv = lv, .vir = vir, .plan = plan};
    bf_auto_libvirt_job running = {0};
    char tag[BF_TAG_LENGTH + 1];
    bool found = false;

    if (bf_libvirt_job_settle(lv, vir, &running, &found, err) < 0)
        return -1;
    if (found) {
        const char *owner = bf_libvirt_job_tag(&running, tag);
        if (bf_streq(owner, plan->request->tag))
            return adopt(&making, &running, ret_snapshot, err);
        return bf_fail(err, BF_E_FOREIGN_BACKUP, 0, "machine %s: %s%s is running",
                       plan->domain->machine->name,
                       owner ? "the backup job of round " : "a backup job of another tool",
                       owner ? owner : "");
    }
    /* A job of this tag that is gone left its checkpoint: of an older moment, so of no use. */
    if (bf_libvirt_checkpoint_delete(lv, vir, plan->domain, plan->request->tag, NULL, err) < 0)
        return -1;
    return make(&making, ret_snapshot, err);
}
