/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "nbd/budget.h"
#include "nbd/change_map.h"
#include "nbd/engine.h"
#include "nbd/file_identity.h"

#define REQUESTS_FIRST 4
/* A whole disk has long extents; most deltas are of 64 KiB. */
#define WINDOW_WHOLE ((uint64_t)512 << 10)
#define WINDOW_DELTA ((uint64_t)256 << 10)
#define BAD_LEAVES_NAMED 8
#define MEMORY ((uint64_t)16 << 20)
/* What the program takes beside its buffers (librbd and TLS not counted). */
#define OWN_MEMORY ((uint64_t)4 << 20)
/* Enough to keep OSDs busy; librbd takes four times as much before the first byte. */
#define RBD_BUFFERS ((uint64_t)8 << 20)

struct copy {
    const struct bf_copy_options *options;
    int cancel_fd;
    int control_fd;
    struct bf_uri source_uri;
    struct bf_uri target_uri;
    struct bf_endpoint *source;
    struct bf_endpoint *target;
    uint64_t size;
    struct bf_extent_list map;
    char map_id[BF_HASH_HEX_LENGTH + 1];
    double map_ms; /* getting the map took */
    bool full;     /* the map covers the whole disk */
    struct bf_digest *digest;
    struct bf_digest *old_digest;
    struct bf_journal *journal;
    struct bf_journal_content journalled;
    struct bf_engine *engine;
    struct bf_progress progress;
    char sha256[BF_SHA256_HEX_LENGTH + 1]; /* "": not asked for */
    char root[BF_ROOT_HEX_LENGTH + 1];     /* "": unknown */
};

static void copy_done(struct copy *copy)
{
    bool busy =
        (copy->source && copy->source->in_kernel) || (copy->target && copy->target->in_kernel);

    bf_endpoint_close(copy->source);
    bf_endpoint_close(copy->target);
    bf_engine_free(copy->engine, busy);
    bf_journal_close(copy->journal);
    bf_digest_free(copy->digest);
    bf_digest_free(copy->old_digest);
    bf_range_set_done(&copy->journalled.done);
    bf_extent_list_done(&copy->map);
    bf_uri_done(&copy->source_uri);
    bf_uri_done(&copy->target_uri);
}

static struct bf_endpoint_options endpoint_options(const struct copy *copy, bool write)
{
    const struct bf_copy_options *o = copy->options;

    return (struct bf_endpoint_options){
        .write = write,
        .create_size = write ? copy->size : 0,
        .connections = (unsigned)o->connections,
        .requests = o->requests ? (unsigned)o->requests : REQUESTS_FIRST,
        .deadline_ms = o->deadline_s * 1000,
        .reconnect_ms = o->reconnect_s * 1000,
        .tls_certificates =
            write && o->target_tls_certificates ? o->target_tls_certificates : o->tls_certificates,
        .tls_psk = o->tls_psk,
        .cancel_fd = copy->cancel_fd,
    };
}

static int open_source(struct copy *copy, struct bf_error *err)
{
    struct bf_endpoint_options options = endpoint_options(copy, false);

    if (bf_uri_parse(copy->options->source, &copy->source_uri, err))
        return -1;
    if (copy->source_uri.kind == BF_URI_NULL)
        return bf_fail(err, BF_E_URI, 0, "null: can only be a target");
    if (bf_endpoint_open(&copy->source_uri, &options, &copy->source, err))
        return bf_fail_in(err, "source");
    copy->size = copy->source->size;
    return 0;
}

static bool same_file(const struct bf_uri *a, const struct bf_uri *b)
{
    struct stat st_a, st_b;

    return a->kind == BF_URI_FILE && b->kind == BF_URI_FILE && stat(a->path, &st_a) == 0 &&
           stat(b->path, &st_b) == 0 && st_a.st_dev == st_b.st_dev && st_a.st_ino == st_b.st_ino;
}

static int open_target(struct copy *copy, struct bf_error *err)
{
    struct bf_endpoint_options options = endpoint_options(copy, true);

    if (same_file(&copy->source_uri, &copy->target_uri) ||
        strcmp(copy->source_uri.text, copy->target_uri.text) == 0)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "source and target are the same: \"%s\"",
                       copy->target_uri.text);
    if (copy->options->sha256 && copy->target_uri.kind == BF_URI_NULL)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "--sha256 reads the target, and null: keeps nothing");
    if (bf_endpoint_open(&copy->target_uri, &options, &copy->target, err))
        return bf_fail_in(err, "target");
    if (copy->source->identity && bf_streq(copy->source->identity, copy->target->identity))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "source and target are the same image: \"%s\"",
                       copy->target_uri.text);
    return 0;
}

static int check_target(const struct copy *copy, struct bf_error *err)
{
    if (copy->target->size < copy->size)
        return bf_fail(err, BF_E_ENDPOINT_SIZE, 0,
                       "target \"%s\" has %" PRIu64 " bytes, the source has %" PRIu64,
                       copy->target->name, copy->target->size, copy->size);
    return 0;
}

static int get_map(struct copy *copy, struct bf_error *err)
{
    const struct bf_copy_options *o = copy->options;

    if (o->since) {
        if (bf_endpoint_since(copy->source, o->since, &copy->map, err))
            return -1;
        bf_extent_list_hash(&copy->map, copy->map_id);
        return 0;
    }
    if (o->map) {
        if (bf_change_map_from_file(o->map, copy->size, &copy->map, err))
            return -1;
        bf_extent_list_hash(&copy->map, copy->map_id);
        return 0;
    }
    if (o->dirty_bitmap)
        return bf_change_map_dirty(copy->source, o->dirty_bitmap, &copy->map, copy->map_id, err);
    copy->full = true;
    strcpy(copy->map_id, o->compare ? "compare" : "whole");
    return bf_change_map_whole(copy->source, &copy->map, err);
}

static int load_map(struct copy *copy, struct bf_error *err)
{
    uint64_t since_ns = bf_budget_now_ns();
    int rc = get_map(copy, err);

    copy->map_ms = (double)(bf_budget_now_ns() - since_ns) / 1e6;
    return rc;
}

/* Cut the map to what the target needs and to the block sizes of both. */
static int fit_map(struct copy *copy, struct bf_error *err)
{
    uint64_t align = copy->source->block_min > copy->target->block_min ? copy->source->block_min
                                                                       : copy->target->block_min;

    /* What the target only seems to have, by somebody's writes that were never flushed, would be
     * left alone and could be lost yet. */
    if (copy->options->compare && copy->target->volatile_cache &&
        bf_endpoint_settle(copy->target, err))
        return -1;
    if (copy->options->compare && !copy->options->digest_from &&
        bf_change_map_drop_zero_on_both(copy->target, &copy->map, err))
        return -1;
    return align > 1 ? bf_extent_list_align(&copy->map, align, copy->size, err) : 0;
}

static bool wants_digest(const struct copy *copy)
{
    return copy->full || copy->options->digest_from;
}

/* What the journal calls the target, as far as it can be known before it is opened for writing. */
static char *name_target(const struct copy *copy)
{
    const struct bf_copy_options *o = copy->options;

    if (o->target_id)
        return bf_xstrdup(o->target_id);
    if (copy->target && copy->target->identity)
        return bf_xstrdup(copy->target->identity);
    if (copy->target_uri.kind == BF_URI_FILE)
        return bf_file_identity_at(copy->target_uri.path, copy->target_uri.text);
    return bf_xstrdup(copy->target_uri.text);
}

/* What the journal tells of must be there: opening the target would make it, or make it longer, and
 * what is missing would read as zero. */
static int check_kept(const struct copy *copy, struct bf_error *err)
{
    struct stat st;

    if (!copy->journalled.commits || copy->target_uri.kind != BF_URI_FILE)
        return 0;
    bool there = stat(copy->target_uri.path, &st) == 0;
    if (!there && errno != ENOENT)
        return 0; /* opening it fails, too, and tells why */
    if (there && (!S_ISREG(st.st_mode) || (uint64_t)st.st_size >= copy->size))
        return 0;
    return bf_fail(err, BF_E_JOURNAL, 0, "journal \"%s\": the target \"%s\" that it tells of %s",
                   copy->options->journal, copy->target_uri.text,
                   there ? "was cut short" : "is not there any more");
}

static int open_journal(struct copy *copy, struct bf_error *err)
{
    const struct bf_copy_options *o = copy->options;
    bf_auto_free char *mode = bf_xasprintf("digest=%s digest-from=%s", o->digest ? o->digest : "",
                                           o->digest_from ? o->digest_from : "");
    bf_auto_free char *target = name_target(copy);
    struct bf_journal_identity identity = {
        .source = o->source_id             ? o->source_id
                  : copy->source->identity ? copy->source->identity
                                           : copy->source_uri.text,
        .target = target,
        .size = copy->size,
        .map = copy->map_id,
        .mode = mode,
    };

    if (!o->journal)
        return 0;
    if (bf_journal_open(o->journal, &identity, &copy->journal, &copy->journalled, err) ||
        check_kept(copy, err))
        return -1;
    if (copy->journalled.commits)
        bf_log_info("resuming: %" PRIu64 " of %" PRIu64 " bytes of the disk are done",
                    bf_range_set_bytes(&copy->journalled.done), copy->size);
    return 0;
}

/* The target is open now, and known for what it is. */
static int begin_journal(struct copy *copy, struct bf_error *err)
{
    bf_auto_free char *target = name_target(copy);

    return copy->journal ? bf_journal_begin(copy->journal, target, err) : 0;
}

static int open_digests(struct copy *copy, struct bf_error *err)
{
    const struct bf_copy_options *o = copy->options;
    bf_auto_free char *beside = o->journal ? bf_xasprintf("%s.digest", o->journal) : NULL;
    struct bf_digest_spec spec = {
        .path = o->digest,
        .beside = beside,
        .from = copy->full ? NULL : o->digest_from,
        .size = copy->size,
        .resume = copy->journalled.commits > 0,
        .complete = copy->journalled.complete,
    };

    if (!wants_digest(copy))
        return 0;
    if (o->compare && o->digest_from &&
        bf_digest_open(o->digest_from, copy->size, &copy->old_digest, err))
        return -1;
    return bf_digest_new(&spec, &copy->digest, err);
}

static uint64_t window_of(const struct copy *copy)
{
    uint64_t usual = copy->full ? WINDOW_WHOLE : WINDOW_DELTA;
    uint64_t window = copy->options->request_bytes;
    const struct bf_endpoint *ends[] = {copy->source, copy->target};

    for (size_t i = 0; i < bf_array_length(ends) && !copy->options->request_bytes; i++)
        window = bf_max_u64(window, bf_max_u64(ends[i]->block_best, usual));
    for (size_t i = 0; i < bf_array_length(ends); i++)
        while (ends[i]->block_max && window > ends[i]->block_max && window > BF_LEAF_BYTES)
            window /= 2;
    return window;
}

static void on_progress(const struct bf_copy_stats *stats, void *user)
{
    bf_progress_show(user, stats);
}

static uint64_t buffer_memory(const struct copy *copy)
{
    uint64_t memory = copy->options->memory_bytes;

    if (!memory && (copy->source_uri.kind == BF_URI_RBD || copy->target_uri.kind == BF_URI_RBD))
        return RBD_BUFFERS;
    if (!memory)
        memory = MEMORY;
    return memory - bf_min_u64(OWN_MEMORY, memory / 4);
}

static int make_engine(struct copy *copy, struct bf_error *err)
{
    const struct bf_copy_options *o = copy->options;
    struct bf_engine_spec spec = {
        .source = copy->source,
        .target = copy->target,
        .size = copy->size,
        .window = window_of(copy),
        .memory = buffer_memory(copy),
        .requests = o->requests ? (unsigned)o->requests : REQUESTS_FIRST,
        .grow = o->requests == 0,
        .rate = o->rate,
        .target_is_zero = o->target_is_zero || copy->target->reads_zero,
        .compare = !o->compare        ? BF_COMPARE_NOT
                   : copy->old_digest ? BF_COMPARE_DIGEST
                                      : BF_COMPARE_TARGET,
        .digest = copy->digest,
        .old_digest = copy->old_digest,
        .journal = copy->journal,
        .cancel_fd = copy->cancel_fd,
        .control_fd = copy->control_fd,
        .progress = on_progress,
        .user = &copy->progress,
    };

    return bf_engine_new(&spec, &copy->engine, err);
}

/* What the map leaves alone must be as it was: else it is another disk, or the map is not true. */
static int prove(struct copy *copy, struct bf_error *err)
{
    struct bf_extent_list map = {0};
    struct bf_range_set bad = {0};
    int rc = bf_change_map_prove(&copy->map, copy->digest, copy->size, copy->options->prove_leaves,
                                 &map, err);

    if (!rc && map.count)
        rc = bf_engine_prove(copy->engine, &map, &bad, err);
    if (!rc && bad.count)
        rc = bf_fail(err, BF_E_IDENTITY, 0,
                     "source \"%s\": %" PRIu64 " of %" PRIu64
                     " bytes that should not have changed differ from the last point, the first at "
                     "%" PRIu64 "; nothing was copied",
                     copy->source->name, bf_range_set_bytes(&bad),
                     bf_extent_list_bytes(&map, 0, copy->size, BF_EXTENT_DATA), bad.items[0].start);
    bf_extent_list_done(&map);
    bf_range_set_done(&bad);
    return rc;
}

/* "offset 65536, 131072 and 5 more" */
static int report_bad(const struct copy *copy, const struct bf_range_set *bad, struct bf_error *err)
{
    bf_auto_buf where = {0};

    for (size_t i = 0; i < bad->count && i < BAD_LEAVES_NAMED; i++)
        bf_buf_addf(&where, "%s%" PRIu64 "-%" PRIu64, i ? ", " : "", bad->items[i].start,
                    bad->items[i].end);
    if (bad->count > BAD_LEAVES_NAMED)
        bf_buf_addf(&where, " and %zu more ranges", bad->count - BAD_LEAVES_NAMED);
    return bf_fail(err, BF_E_VERIFY_MISMATCH, 0,
                   "target \"%s\": %" PRIu64 " bytes differ from what was written, at %s",
                   copy->target->name, bf_range_set_bytes(bad), where.text);
}

static int list_of(const struct bf_range_set *set, struct bf_extent_list *list,
                   struct bf_error *err)
{
    for (size_t i = 0; i < set->count; i++)
        if (bf_extent_list_add(list, set->items[i].start, set->items[i].end - set->items[i].start,
                               BF_EXTENT_DATA, err))
            return -1;
    return 0;
}

/* Copy the bad leaves again and look at them once more. */
static int repair(struct copy *copy, struct bf_range_set *bad, struct bf_error *err)
{
    struct bf_extent_list again = {0};
    int rc;

    bf_log_notice("%" PRIu64 " bytes of the target differ and are copied again",
                  bf_range_set_bytes(bad));
    rc = list_of(bad, &again, err);
    bf_range_set_done(bad);
    if (!rc)
        rc = bf_engine_repair(copy->engine, &again, err);
    if (!rc)
        rc = bf_engine_verify(copy->engine, &again, bad, err);
    bf_extent_list_done(&again);
    return rc;
}

static int verify(struct copy *copy, struct bf_error *err)
{
    struct bf_extent_list map = {0};
    struct bf_range_set bad = {0};
    int rc;

    rc = bf_change_map_verify(copy->target, copy->digest, copy->size, copy->options->verify_percent,
                              &map, err);
    if (!rc)
        rc = bf_engine_verify(copy->engine, &map, &bad, err);
    bf_extent_list_done(&map);
    if (!rc && bad.count && copy->options->repair)
        rc = repair(copy, &bad, err);
    if (!rc && bad.count)
        rc = report_bad(copy, &bad, err);
    bf_range_set_done(&bad);
    return rc;
}

/* What an auditor can compare with sha256sum of any other copy of the disk. */
static int audit(struct copy *copy, struct bf_error *err)
{
    struct bf_extent_list map = {0};
    int rc = bf_endpoint_allocation(copy->target, 0, copy->size, &map, err);

    if (!rc)
        rc = bf_engine_audit(copy->engine, &map, copy->sha256, err);
    bf_extent_list_done(&map);
    return rc;
}

static int complete(struct copy *copy, struct bf_error *err)
{
    if (copy->digest && bf_digest_root(copy->digest, copy->root, err))
        return -1;
    if (copy->digest && bf_digest_commit(copy->digest, err))
        return -1;
    return copy->journal ? bf_journal_remove(copy->journal, err) : 0;
}

static int open_all(struct copy *copy, struct bf_error *err)
{
    if (open_source(copy, err))
        return -1;
    if (copy->options->print_map)
        return load_map(copy, err);
    /* What can be refused is, before the target is touched. */
    if (bf_uri_parse(copy->options->target, &copy->target_uri, err) || load_map(copy, err))
        return -1;
    /* Opening makes no RBD image, and the journal is to know it from a later one of its name. */
    if (copy->target_uri.kind == BF_URI_RBD && open_target(copy, err))
        return -1;
    if (open_journal(copy, err) || (!copy->target && open_target(copy, err)) ||
        check_target(copy, err) || begin_journal(copy, err) || fit_map(copy, err) ||
        open_digests(copy, err) || make_engine(copy, err))
        return -1;
    return 0;
}

static int run(struct copy *copy, struct bf_error *err)
{
    if (open_all(copy, err))
        return -1;
    if (copy->options->print_map)
        return bf_change_map_print(&copy->map, stdout, err);
    bf_progress_start(&copy->progress, copy->options->progress, copy->size,
                      bf_extent_list_bytes(&copy->map, 0, copy->size, BF_EXTENT_DATA),
                      copy->map.count, copy->map_ms);
    if (copy->options->prove_leaves && prove(copy, err))
        return -1;
    if (bf_engine_copy(copy->engine, &copy->map, &copy->journalled.done, err))
        return -1;
    if (copy->options->verify_percent && verify(copy, err))
        return -1;
    if (copy->options->sha256 && audit(copy, err))
        return -1;
    if (bf_endpoint_confirm(copy->source, err) || bf_endpoint_confirm(copy->target, err))
        return -1;
    if (complete(copy, err))
        return -1;
    struct bf_progress_result result = {
        .stats = bf_engine_stats(copy->engine),
        .root = copy->root[0] ? copy->root : NULL,
        .sha256 = copy->sha256[0] ? copy->sha256 : NULL,
    };
    bf_progress_done(&copy->progress, &result);
    return 0;
}

int bf_copy_run(const struct bf_copy_options *options, int cancel_fd, int control_fd,
                struct bf_error *err)
{
    struct copy copy = {
        .options = options,
        .cancel_fd = cancel_fd,
        .control_fd = control_fd,
        .progress = {.mode = options->progress},
    };
    int rc = run(&copy, err);

    if (rc)
        bf_progress_error(&copy.progress, err);
    copy_done(&copy);
    return rc;
}
