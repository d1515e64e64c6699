/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/guest_request.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "daemon/job_private.h"
#include "daemon/service_private.h"

static void show_line(const char *line, void *user)
{
    bf_progress_line(bf_job_progress(user), "%s", line);
}

int bf_guest_request_init(struct bf_job *job, char letter, uint64_t deadline_ms,
                          struct bf_guest_request *ret_request, struct bf_error *err)
{
    const struct bf_inputs *inputs = bf_job_inputs(job);
    const struct bf_machine *machine = inputs->machine;
    const struct bf_config *config = job->service->config;
    const struct bf_policy *policy = &inputs->policy;
    bf_auto_free char *directory =
        bf_service_work_directory(job->service, job->replication_id, letter);
    const char **macs;

    if (bf_directory_make(directory, 0700, err) != 0)
        return -1;
    macs = bf_xcalloc(machine->nic_count + 1, sizeof(*macs));
    for (size_t i = 0; i < machine->nic_count; i++)
        macs[i] = machine->nics[i].mac;
    *ret_request = (struct bf_guest_request){
        .convert = {.mode = policy->convert,
                    .name = machine->name,
                    .uefi = machine->firmware != BF_FIRMWARE_BIOS,
                    .macs = macs,
                    .mac_count = machine->nic_count,
                    .virtio_win = policy->virtio_win ? policy->virtio_win : config->virtio_win,
                    .grow = policy->grow,
                    .serial_console = policy->serial_console,
                    .work_directory = directory,
                    .cache_directory = config->cache_directory,
                    .deadline = bf_deadline_in(deadline_ms),
                    .cancel_fd = bf_job_cancel_fd(job),
                    .progress = show_line,
                    .user = job},
        .macs = macs,
        .directory = directory,
    };
    (void)bf_steal(directory);
    return 0;
}

void bf_guest_request_done(struct bf_guest_request *request)
{
    free(request->macs);
    free(request->directory);
    *request = (struct bf_guest_request){0};
}
