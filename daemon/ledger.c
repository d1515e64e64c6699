/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/ledger.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/source.h"
#include "connectors/target.h"
#include "daemon/context.h"
#include "daemon/loop.h"
#include "daemon/service_private.h"

enum { LEDGER_ID_LENGTH = 16 };

static void row_done_at(struct bf_ledger_row *row)
{
    bf_ledger_row_done(row);
}
#define auto_row __attribute__((cleanup(row_done_at))) struct bf_ledger_row

char *bf_ledger_tag(const char *id)
{
    return bf_xasprintf("bf-%s", id);
}

bool bf_ledger_at_source(const char *kind)
{
    return bf_streq(kind, "snapshot") || bf_streq(kind, "baseline");
}

/* --- main thread --- */

static void replace(char **place, const char *text)
{
    char *copy = bf_xstrdup(text);

    free(*place);
    *place = copy;
}

static int put(struct bf_store *store, struct bf_ledger_row *row, struct bf_error *err)
{
    row->changed_us = bf_utc_us();
    return bf_store_ledger_put(store, row, err);
}

int bf_ledger_set_state(struct bf_store *store, const char *id, const char *state,
                        struct bf_error *err)
{
    auto_row row = {0};

    bf_assert_main();
    if (bf_store_ledger_get(store, id, &row, err) != 0)
        return -1;
    replace(&row.state, state);
    return put(store, &row, err);
}

int bf_ledger_set_ref(struct bf_store *store, const char *id, const char *ref, struct bf_error *err)
{
    auto_row row = {0};

    bf_assert_main();
    if (bf_store_ledger_get(store, id, &row, err) != 0)
        return -1;
    replace(&row.state, "made");
    replace(&row.ref, ref);
    return put(store, &row, err);
}

int bf_ledger_set_snapshot(struct bf_store *store, const char *id, const char *snapshot_ref,
                           const char *baseline, struct bf_error *err)
{
    bf_auto_json *ref = json_object_new_object();

    bf_json_add_string(ref, "ref", snapshot_ref);
    bf_json_add_string(ref, "baseline", baseline);
    return bf_ledger_set_ref(store, id, bf_json_text(ref), err);
}

/* --- the job's thread --- */

static int store_row(struct bf_service *service, void *user, struct bf_error *err)
{
    return put(service->store, user, err);
}

int bf_ledger_intend(struct bf_job *job, struct json_object *holder, const char *key,
                     enum bf_side side, const char *kind, const char *name, const char *owner,
                     char **ret_tag, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    const char *known = bf_context_text(holder, key);
    char id[LEDGER_ID_LENGTH + 1];

    if (!known) {
        const char *platform = side == BF_SIDE_SOURCE ? inputs->replication.source_platform_id
                                                      : inputs->replication.target_platform_id;
        auto_row row = {.platform_id = bf_xstrdup(platform),
                        .replication_id = bf_xstrdup(inputs->replication.id),
                        .kind = bf_xstrdup(kind),
                        .state = bf_xstrdup("intended"),
                        .name = bf_xstrdup(name),
                        .owner = bf_xstrdup(owner),
                        .created_us = bf_utc_us()};

        bf_random_hex(id, LEDGER_ID_LENGTH);
        row.id = bf_xstrdup(id);
        json_object_object_add(holder, key, json_object_new_string(id));
        if (bf_job_transaction(job, store_row, &row, err) != 0) {
            json_object_object_del(holder, key);
            return -1;
        }
        known = id;
    }
    *ret_tag = bf_ledger_tag(known);
    return 0;
}

struct change {
    const char *id;
    const char *value;
};

static int store_ref(struct bf_service *service, void *user, struct bf_error *err)
{
    const struct change *change = user;

    return bf_ledger_set_ref(service->store, change->id, change->value, err);
}

static int finish_removal(struct bf_service *service, void *user, struct bf_error *err)
{
    return bf_removal_finish(service->store, user, err);
}

int bf_ledger_made(struct bf_job *job, const char *id, const char *ref, struct bf_error *err)
{
    return bf_job_transaction(job, store_ref, &(struct change){.id = id, .value = ref}, err);
}

struct load {
    const char *id;
    struct bf_removal *removal;
};

static int begin_removal(struct bf_service *service, void *user, struct bf_error *err)
{
    const struct load *load = user;

    if (bf_removal_load(service->store, load->id, load->removal, err) != 0)
        return -1;
    if (bf_streq(load->removal->row.state, "gone") ||
        bf_streq(load->removal->row.state, "handed-over"))
        return 0;
    return bf_ledger_set_state(service->store, load->id, "removing", err);
}

int bf_ledger_remove(struct bf_job *job, const char *id, struct bf_error *err)
{
    struct bf_removal removal __attribute__((cleanup(bf_removal_done))) = {0};
    struct bf_platform *platform;
    bool at_source;

    if (bf_job_transaction(job, begin_removal, &(struct load){.id = id, .removal = &removal},
                           err) != 0)
        return -1;
    if (bf_streq(removal.row.state, "gone") || bf_streq(removal.row.state, "handed-over"))
        return 0;
    at_source = bf_ledger_at_source(removal.row.kind);
    if ((at_source ? bf_job_source(job, &platform, err) : bf_job_target(job, &platform, err)) != 0)
        return -1;
    if (bf_removal_run(&removal, platform, err) != 0)
        return -1;
    return bf_job_transaction(job, finish_removal, &removal, err);
}

/* --- many --- */

struct listing {
    const char *replication_id;
    const char *kind;
    const char *but;
    char **ids;
};

static int list_ids(struct bf_service *service, void *user, struct bf_error *err)
{
    struct listing *listing = user;
    struct bf_ledger_row *rows = NULL;
    size_t count = 0, n = 0;
    struct bf_replication_row replication = {0};

    if (bf_store_replication_get(service->store, listing->replication_id, &replication, err) != 0)
        return -1;
    if (bf_store_ledger_list(service->store, NULL, listing->replication_id, true, &rows, &count,
                             err) != 0) {
        bf_replication_row_done(&replication);
        return -1;
    }
    listing->ids = bf_xcalloc(count + 1, sizeof(*listing->ids));
    for (size_t i = 0; i < count; i++) {
        bool present = bf_streq(rows[i].kind, "baseline") && replication.baseline &&
                       bf_streq(rows[i].ref, replication.baseline);

        if (bf_streq(rows[i].kind, listing->kind) && !present &&
            (!listing->but || !bf_streq(rows[i].id, listing->but)))
            listing->ids[n++] = bf_xstrdup(rows[i].id);
    }
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_ledger_row_done);
    bf_replication_row_done(&replication);
    return 0;
}

int bf_ledger_open_ids(struct bf_job *job, const char *kind, const char *but, char ***ret_ids,
                       struct bf_error *err)
{
    struct listing listing = {
        .replication_id = bf_job_replication_id(job), .kind = kind, .but = but};

    if (bf_job_transaction(job, list_ids, &listing, err) != 0) {
        bf_ledger_ids_free(listing.ids);
        return -1;
    }
    *ret_ids = listing.ids;
    return 0;
}

void bf_ledger_ids_free(char **ids)
{
    if (!ids)
        return;
    for (char **id = ids; *id; id++)
        free(*id);
    free(ids);
}

int bf_ledger_remove_kind(struct bf_job *job, const char *kind, struct bf_error *err)
{
    bf_auto_ids ids = NULL;

    if (bf_ledger_open_ids(job, kind, NULL, &ids, err) != 0)
        return -1;
    for (char **id = ids; *id; id++) {
        bf_auto_error why = BF_ERROR_INIT;

        if (bf_ledger_remove(job, *id, &why) != 0 && !bf_error_is_set(err))
            bf_error_move(err, &why);
    }
    return bf_error_is_set(err) ? -1 : 0;
}

/* --- removal --- */

int bf_removal_load(struct bf_store *store, const char *id, struct bf_removal *ret_removal,
                    struct bf_error *err)
{
    struct bf_removal removal __attribute__((cleanup(bf_removal_done))) = {0};

    bf_assert_main();
    if (bf_store_ledger_get(store, id, &removal.row, err) != 0)
        return -1;
    if (bf_streq(removal.row.kind, "layer") && removal.row.owner) {
        auto_row volume = {0};
        bf_auto_error lost = BF_ERROR_INIT;

        if (bf_store_ledger_get(store, removal.row.owner, &volume, &lost) == 0 &&
            !bf_streq(volume.state, "gone"))
            removal.volume_ref = bf_steal(volume.ref);
    }
    if (bf_streq(removal.row.kind, "snapshot") && removal.row.ref) {
        bf_auto_json *ref = bf_context_parse(removal.row.ref);

        if (bf_context_text(ref, "baseline")) {
            removal.snapshot_ref = bf_xstrdup(bf_context_text(ref, "ref"));
            removal.baseline = bf_xstrdup(bf_context_text(ref, "baseline"));
        }
    }
    bf_removal_done(ret_removal);
    *ret_removal = removal;
    removal = (struct bf_removal){0};
    return 0;
}

int bf_removal_finish(struct bf_store *store, const struct bf_removal *removal,
                      struct bf_error *err)
{
    auto_row row = {0};

    if (!removal->baseline)
        return bf_ledger_set_state(store, removal->row.id, "gone", err);
    if (bf_store_ledger_get(store, removal->row.id, &row, err) != 0)
        return -1;
    replace(&row.kind, "baseline");
    replace(&row.state, "made");
    replace(&row.ref, removal->baseline);
    return put(store, &row, err);
}

void bf_removal_done(struct bf_removal *removal)
{
    bf_ledger_row_done(&removal->row);
    free(removal->volume_ref);
    free(removal->snapshot_ref);
    free(removal->baseline);
    *removal = (struct bf_removal){0};
}

struct search {
    const char *kind;
    const char *tag;
    char *ref;
};

static int match_tag(const char *kind, const char *tag, const char *ref, const char *name,
                     void *user)
{
    struct search *search = user;

    (void)name;
    if (!bf_streq(tag, search->tag) || !bf_streq(kind, search->kind))
        return 0;
    search->ref = bf_xstrdup(ref);
    return 1;
}

typedef int remove_fn(struct bf_platform *platform, const char *ref, struct bf_error *err);

static remove_fn *remover(const char *kind)
{
    static const struct {
        const char *kind;
        remove_fn *fn;
    } removers[] = {
        {"volume", bf_target_delete_volume},
        {"clone", bf_target_delete_clone},
        {"machine", bf_target_delete_machine},
    };

    for (size_t i = 0; i < bf_array_length(removers); i++) {
        if (bf_streq(removers[i].kind, kind))
            return removers[i].fn;
    }
    return NULL;
}

/* A row of which we never learnt the ref: we died between making and recording, or
 * before making.  What carries the tag is what the row announced. */
static int remove_by_tag(const struct bf_ledger_row *row, const char *tag,
                         struct bf_platform *platform, struct bf_error *err)
{
    struct search search = {.kind = row->kind, .tag = tag};
    int r;

    if (bf_platform_tagged(platform, match_tag, &search, err) != 0)
        return -1;
    if (!search.ref)
        return 0;
    r = remover(row->kind)(platform, search.ref, err);
    free(search.ref);
    return r;
}

static int remove_layer(const struct bf_removal *removal, const char *tag,
                        struct bf_platform *platform, struct bf_error *err)
{
    if (!removal->volume_ref)
        return 0; /* it went with its volume */
    if (removal->row.ref)
        return bf_target_delete_point(platform, removal->volume_ref, removal->row.ref, err);
    return bf_target_drop_round(platform, removal->volume_ref, tag, err);
}

static int remove_at_source(const struct bf_removal *removal, const char *tag,
                            struct bf_platform *platform, struct bf_error *err)
{
    const struct bf_ledger_row *row = &removal->row;
    int r;

    if (removal->baseline)
        r = bf_source_release(platform, row->owner, removal->snapshot_ref, err);
    else if (bf_streq(row->kind, "snapshot"))
        r = bf_source_release_tag(platform, row->owner, tag, err);
    else
        r = bf_source_drop_baseline(platform, row->owner, row->ref, err);
    /* With the machine went what was on it. */
    if (r != 0 && (err->code == BF_E_NO_SUCH_MACHINE || err->code == BF_E_MACHINE_GONE)) {
        bf_error_clear(err);
        return 0;
    }
    return r;
}

int bf_removal_run(const struct bf_removal *removal, struct bf_platform *platform,
                   struct bf_error *err)
{
    const struct bf_ledger_row *row = &removal->row;
    bf_auto_free char *tag = bf_ledger_tag(row->id);

    if (bf_ledger_at_source(row->kind))
        return remove_at_source(removal, tag, platform, err);
    if (bf_streq(row->kind, "layer"))
        return remove_layer(removal, tag, platform, err);
    if (bf_streq(row->kind, "adoption")) /* never deleted: the volume is the source's */
        return bf_target_give_back_volume(platform, tag, row->owner, err);
    if (!remover(row->kind))
        return bf_fail(err, BF_E_INTERNAL, 0, "the ledger holds a '%s', which nobody can remove",
                       row->kind);
    if (!row->ref)
        return remove_by_tag(row, tag, platform, err);
    return remover(row->kind)(platform, row->ref, err);
}
