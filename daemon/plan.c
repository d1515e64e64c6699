/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/plan.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/context.h"
#include "daemon/plan_look.h"
#include "daemon/service_private.h"
#include "guest/plan.h"

/* An initramfs made anew is some ten MiB, a kernel with its modules ten times that. */
#define LOOK_AGAIN_BYTES ((uint64_t)64 << 20)
#define LOOK_AGAIN_US ((int64_t)3600 * 1000000)
#define ROUNDS_MAX 1000

/* --- what it depends on --- */

struct json_object *bf_plan_inputs(const struct bf_inputs *inputs, const struct bf_config *config)
{
    const struct bf_machine *machine = inputs->machine;
    struct json_object *json = json_object_new_object();
    struct json_object *disks = json_object_new_array();
    struct json_object *macs = json_object_new_array();
    struct json_object *sizes = json_object_new_array();
    const char *drivers =
        inputs->policy.virtio_win ? inputs->policy.virtio_win : config->virtio_win;

    for (size_t i = 0; machine && i < machine->disk_count; i++)
        if (bf_mapping_has_disk(&inputs->mapping, machine->disks[i].key)) {
            json_object_array_add(disks, json_object_new_string(machine->disks[i].key));
            json_object_array_add(sizes, json_object_new_uint64(machine->disks[i].size_bytes));
        }
    for (size_t i = 0; machine && i < machine->nic_count; i++)
        json_object_array_add(
            macs, machine->nics[i].mac ? json_object_new_string(machine->nics[i].mac) : NULL);
    bf_json_add_bool(json, "uefi", machine && machine->firmware != BF_FIRMWARE_BIOS);
    json_object_object_add(json, "disks", disks);
    json_object_object_add(json, "sizes", sizes); /* what a disk has grown by is for `grow` */
    json_object_object_add(json, "macs", macs);
    bf_json_add_string(json, "disk_bus", inputs->mapping.disk_bus);
    bf_json_add_string(json, "convert", bf_convert_mode_to_string(inputs->policy.convert));
    bf_json_add_string(json, "virtio_win", drivers);
    bf_json_add_bool(json, "grow", inputs->policy.grow);
    bf_json_add_bool(json, "serial_console", inputs->policy.serial_console);
    bf_json_add_string(json, "version", BF_VERSION);
    return json;
}

static struct json_object *parse(const struct bf_inputs *inputs)
{
    return inputs->plan.plan ? bf_context_parse(inputs->plan.plan) : NULL;
}

static bool is_of(struct json_object *plan, const struct bf_inputs *inputs,
                  const struct bf_config *config)
{
    bf_auto_json *now = bf_plan_inputs(inputs, config);

    return json_object_equal(bf_plan_part(plan, "inputs"), now) != 0;
}

bool bf_plan_is_current(const struct bf_inputs *inputs, const struct bf_config *config)
{
    bf_auto_json *plan = parse(inputs);

    return plan && is_of(plan, inputs, config);
}

struct json_object *bf_plan_for_launch(const struct bf_inputs *inputs,
                                       const struct bf_config *config, uint64_t point)
{
    bf_auto_json *plan = parse(inputs);

    if (!plan || !is_of(plan, inputs, config) || point < inputs->plan.point_number ||
        bf_context_bool(plan, "failed") || bf_context_bool(plan, "partial"))
        return NULL;
    return bf_steal(plan);
}

void bf_plan_add_findings(const struct bf_inputs *inputs, const struct bf_config *config,
                          struct json_object *findings)
{
    bf_auto_json *plan = parse(inputs);
    struct json_object *list = plan ? bf_plan_part(plan, "findings") : NULL;

    if (inputs->policy.convert == BF_CONVERT_NONE || !list || !is_of(plan, inputs, config))
        return;
    for (size_t i = 0; i < json_object_array_length(list); i++)
        json_object_array_add(findings, json_object_get(json_object_array_get_idx(list, i)));
}

/* --- kept with the replication --- */

struct put_plan {
    struct bf_job *job;
    struct json_object *plan;
    uint64_t point;
};

static int tell(struct bf_service *service, const struct put_plan *put, struct bf_error *err)
{
    bool blocks = bf_plan_blocks(put->plan);
    const char *product = bf_plan_text(bf_plan_part(put->plan, "os"), "product");
    bf_auto_json *data = NULL;

    if (bf_context_bool(put->plan, "failed")) /* a warning has told that and why */
        return 0;
    data = json_object_new_object();
    bf_json_add_string(data, "method", bf_plan_method(put->plan));
    bf_json_add_u64(data, "point", put->point);
    return bf_service_event(service, bf_job_inputs(put->job)->replication.name,
                            blocks ? "warning" : "info", "plan", data, err,
                            "the guest was inspected: %s, conversion %s%s",
                            product ? product : "unknown system", bf_plan_method(put->plan),
                            blocks ? ", which is blocked (see its check)" : "");
}

static int store_plan(struct bf_service *service, void *user, struct bf_error *err)
{
    const struct put_plan *put = user;
    struct bf_plan_row row = {
        .replication_id = bf_xstrdup(bf_job_replication_id(put->job)),
        .plan = bf_xstrdup(bf_json_text(put->plan)),
        .point_number = put->point,
        .made_us = bf_utc_us(),
    };
    int r = bf_store_plan_put(service->store, &row, err);

    bf_plan_row_done(&row);
    return r == 0 ? tell(service, put, err) : r;
}

int bf_plan_keep(struct bf_job *job, struct json_object *plan, uint64_t point, struct bf_error *err)
{
    struct put_plan put = {.job = job, .plan = plan, .point = point};

    json_object_object_add(plan, "inputs", bf_plan_inputs(bf_job_inputs(job), bf_job_config(job)));
    if (bf_job_transaction(job, store_plan, &put, err) != 0)
        return -1;
    return bf_job_refresh(job, err);
}

static int remove_plan(struct bf_service *service, void *user, struct bf_error *err)
{
    return bf_store_plan_remove(service->store, bf_job_replication_id(user), err);
}

int bf_plan_drop(struct bf_job *job, struct bf_error *err)
{
    return bf_job_transaction(job, remove_plan, job, err);
}

/* --- the step of a round --- */

struct carried {
    const char *replication_id;
    uint64_t since; /* point */
    uint64_t bytes;
};

static int sum_rounds(struct bf_service *service, void *user, struct bf_error *err)
{
    struct carried *carried = user;
    struct bf_round_row *rows = NULL;
    size_t count = 0;

    if (bf_store_round_list(service->store, carried->replication_id, ROUNDS_MAX, &rows, &count,
                            err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (rows[i].number > carried->since && bf_streq(rows[i].state, "complete"))
            carried->bytes += rows[i].sent_bytes + rows[i].zero_bytes;
    bf_rows_free(rows, count, sizeof(*rows), (bf_row_done_fn *)bf_round_row_done);
    return 0;
}

static bool is_partial(const struct bf_inputs *inputs)
{
    bf_auto_json *plan = parse(inputs);

    return plan && bf_context_bool(plan, "partial");
}

static int is_due(struct bf_job *job, bool *ret_due, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    struct carried carried = {.replication_id = bf_job_replication_id(job),
                              .since = inputs->plan.point_number};

    *ret_due = !bf_plan_is_current(inputs, bf_job_config(job)) || is_partial(inputs);
    if (*ret_due || bf_utc_us() - inputs->plan.made_us < LOOK_AGAIN_US)
        return 0;
    if (bf_job_transaction(job, sum_rounds, &carried, err) != 0)
        return -1;
    *ret_due = carried.bytes >= LOOK_AGAIN_BYTES;
    return 0;
}

int bf_plan_step(struct bf_job *job, struct bf_error *err)
{
    const struct bf_point_row *point;
    bool due;

    if (bf_job_refresh(job, err) != 0)
        return -1;
    point = bf_inputs_point(bf_job_inputs(job), 0);
    if (bf_job_inputs(job)->policy.convert == BF_CONVERT_NONE || !point ||
        !bf_job_inputs(job)->machine)
        return 0;
    if (is_due(job, &due, err) != 0)
        return -1;
    return due ? bf_plan_look_at_point(job, point, err) : 0;
}
