/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/inputs.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/connector.h"
#include "daemon/context.h"
#include "daemon/loop.h"
#include "daemon/service_private.h"

int bf_platform_access_load(struct bf_service *service, const char *id_or_name,
                            struct bf_platform_access *ret_access, struct bf_error *err)
{
    struct bf_platform_access access __attribute__((cleanup(bf_platform_access_done))) = {0};

    bf_assert_main();
    if (bf_store_platform_get(service->store, id_or_name, &access.row, err) != 0)
        return -1;
    if (access.row.sealed_password) {
        bf_auto_free char *owner = bf_xasprintf("platform:%s", access.row.id);

        if (bf_seal_unwrap(service->seal, owner, access.row.sealed_password, &access.password,
                           err) != 0)
            return bf_fail_in(err, "password of platform %s", access.row.name);
    }
    if (access.row.options)
        access.options = bf_context_parse(access.row.options);
    *ret_access = access;
    access = (struct bf_platform_access){0};
    return 0;
}

void bf_platform_access_done(struct bf_platform_access *access)
{
    bf_platform_row_done(&access->row);
    bf_secret_free(access->password);
    json_object_put(access->options);
    *access = (struct bf_platform_access){0};
}

int bf_platform_access_open(const struct bf_platform_access *access, const char *work_directory,
                            struct bf_platform **ret_platform, struct bf_error *err)
{
    const struct bf_platform_conf conf = {
        .name = access->row.name,
        .type = access->row.type,
        .url = access->row.url,
        .user = access->row.user,
        .password = access->password,
        .options = access->options,
        .work_directory = work_directory,
    };

    if (bf_directory_make(work_directory, 0700, err) != 0)
        return -1;
    return bf_platform_open(&conf, ret_platform, err);
}

static int load(struct bf_service *service, const char *replication_id, struct bf_inputs *inputs,
                struct bf_error *err)
{
    struct bf_replication_row *row = &inputs->replication;
    bf_auto_json *policy = NULL;
    bf_auto_json *mapping = NULL;
    bool found;

    bf_policy_init(&inputs->policy);
    bf_mapping_init(&inputs->mapping);
    if (bf_store_replication_get(service->store, replication_id, row, err) != 0 ||
        bf_platform_access_load(service, row->source_platform_id, &inputs->source, err) != 0 ||
        bf_platform_access_load(service, row->target_platform_id, &inputs->target, err) != 0)
        return -1;
    mapping = bf_context_parse(row->mapping);
    policy = bf_context_parse(row->policy);
    if (bf_policy_from_json(policy, &inputs->policy, err) != 0 ||
        bf_mapping_from_json(mapping, &inputs->mapping, err) != 0)
        return bf_fail_in(err, "as stored for %s", row->name);
    if (row->machine) {
        bf_auto_json *machine = bf_context_parse(row->machine);

        if (bf_machine_from_json(machine, &inputs->machine, err) != 0)
            return bf_fail_in(err, "stored description of %s", row->machine_name);
    }
    return bf_store_volume_list(service->store, row->id, &inputs->volumes, &inputs->volume_count,
                                err) != 0 ||
                   bf_store_point_list(service->store, row->id, &inputs->points,
                                       &inputs->point_count, err) != 0 ||
                   bf_store_plan_get(service->store, row->id, &inputs->plan, &found, err) != 0
               ? -1
               : 0;
}

int bf_inputs_load(struct bf_service *service, const char *replication_id,
                   struct bf_inputs *ret_inputs, struct bf_error *err)
{
    struct bf_inputs inputs = {0};

    bf_assert_main();
    if (load(service, replication_id, &inputs, err) != 0) {
        bf_inputs_done(&inputs);
        return -1;
    }
    *ret_inputs = inputs;
    return 0;
}

void bf_inputs_done(struct bf_inputs *inputs)
{
    bf_replication_row_done(&inputs->replication);
    bf_platform_access_done(&inputs->source);
    bf_platform_access_done(&inputs->target);
    bf_mapping_done(&inputs->mapping);
    bf_policy_done(&inputs->policy);
    bf_machine_free(inputs->machine);
    bf_plan_row_done(&inputs->plan);
    bf_rows_free(inputs->volumes, inputs->volume_count, sizeof(*inputs->volumes),
                 (bf_row_done_fn *)bf_volume_row_done);
    bf_rows_free(inputs->points, inputs->point_count, sizeof(*inputs->points),
                 (bf_row_done_fn *)bf_point_row_done);
    *inputs = (struct bf_inputs){0};
}

const struct bf_volume_row *bf_inputs_volume(const struct bf_inputs *inputs, const char *disk_key)
{
    for (size_t i = 0; i < inputs->volume_count; i++) {
        if (bf_streq(inputs->volumes[i].disk_key, disk_key))
            return &inputs->volumes[i];
    }
    return NULL;
}

const struct bf_point_row *bf_inputs_point(const struct bf_inputs *inputs, uint64_t number)
{
    for (size_t i = 0; i < inputs->point_count; i++) {
        const struct bf_point_row *point = &inputs->points[i];

        if (!point->removing && (number == 0 || point->number == number))
            return point;
    }
    return NULL;
}
