/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/firmware_vars.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "connectors/target.h"
#include "daemon/config.h"
#include "daemon/context.h"
#include "daemon/round.h"

static char *directory_of(struct bf_job *job)
{
    return bf_xasprintf("%s/firmware/%s", bf_job_config(job)->state_directory,
                        bf_job_replication_id(job));
}

static char *path_of(struct bf_job *job, uint64_t number)
{
    bf_auto_free char *directory = directory_of(job);

    return bf_xasprintf("%s/%llu", directory, (unsigned long long)number);
}

int bf_firmware_vars_keep(struct bf_job *job, struct json_object *round, struct bf_error *err)
{
    bf_auto_free char *directory = directory_of(job);
    bf_auto_free char *path = path_of(job, bf_context_u64(round, "number"));
    bf_auto_free char *data = NULL;
    bf_auto_free char *note = NULL;
    struct bf_platform *source;
    size_t size = 0;

    if (!bf_job_inputs(job)->machine)
        return 0;
    if (bf_job_source(job, &source, err) != 0 ||
        bf_source_firmware_vars(source, bf_job_inputs(job)->machine, &data, &size, &note, err) != 0)
        return bf_fail_in(err, "UEFI variables");
    if (note)
        bf_round_note(round, "without UEFI variables: %s", note);
    if (!data)
        return 0;
    if (bf_directory_make(directory, 0700, err) != 0 ||
        bf_file_replace(path, data, size, 0600, err) != 0)
        return bf_fail_in(err, "UEFI variables");
    return 0;
}

int bf_firmware_vars_give(struct bf_job *job, uint64_t number, struct bf_launch_request *request,
                          char **ret_data, struct bf_error *err)
{
    bf_auto_free char *path = path_of(job, number);
    bf_auto_free char *data = NULL;
    bf_auto_free char *why = NULL;
    struct bf_platform *target;
    size_t size;

    if (request->machine->firmware == BF_FIRMWARE_BIOS)
        return 0;
    if (bf_file_access(path, F_OK) != 0) {
        bf_job_warn(job, NULL,
                    "the point has no UEFI variables of the source: the firmware starts from "
                    "EFI/BOOT on the disk");
        return 0;
    }
    if (bf_file_read(path, BF_FIRMWARE_VARS_MAX, &data, &size, err) != 0 ||
        bf_job_target(job, &target, err) != 0 ||
        bf_target_takes_firmware_vars(target, request->machine, size, &why, err) != 0)
        return bf_fail_in(err, "UEFI variables");
    if (why) {
        bf_job_warn(job, NULL, "the launch is without the source's UEFI variables: %s", why);
        return 0;
    }
    request->firmware_vars = data;
    request->firmware_vars_size = size;
    *ret_data = bf_steal(data);
    return 0;
}

void bf_firmware_vars_remove(struct bf_job *job, uint64_t number)
{
    bf_auto_free char *path = number ? path_of(job, number) : directory_of(job);
    bf_auto_error err = BF_ERROR_INIT;

    if ((number ? bf_file_remove(path, &err) : bf_directory_remove(path, &err)) != 0)
        bf_log_error(BF_LOG_WARNING, &err, "UEFI variables of a removed point");
}
