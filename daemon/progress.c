/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"

void bf_progress_init(struct bf_progress *progress)
{
    memset(progress, 0, sizeof(*progress));
    pthread_mutex_init(&progress->lock, NULL);
    progress->since_ms = bf_now_ms();
}

void bf_progress_done(struct bf_progress *progress)
{
    pthread_mutex_destroy(&progress->lock);
}

void bf_progress_step(struct bf_progress *progress, unsigned step, bool undoing)
{
    pthread_mutex_lock(&progress->lock);
    progress->step = step;
    progress->undoing = undoing;
    progress->since_ms = bf_now_ms();
    progress->line[0] = '\0';
    progress->disk_count = 0;
    progress->version++;
    pthread_mutex_unlock(&progress->lock);
}

void bf_progress_line(struct bf_progress *progress, const char *format, ...)
{
    va_list args;

    pthread_mutex_lock(&progress->lock);
    va_start(args, format);
    vsnprintf(progress->line, sizeof(progress->line), format, args);
    va_end(args);
    progress->version++;
    pthread_mutex_unlock(&progress->lock);
}

void bf_progress_disk(struct bf_progress *progress, const struct bf_disk_progress *disk)
{
    unsigned i;

    pthread_mutex_lock(&progress->lock);
    for (i = 0; i < progress->disk_count; i++) {
        if (strcmp(progress->disks[i].key, disk->key) == 0)
            break;
    }
    if (i < BF_PROGRESS_DISKS_MAX) {
        progress->disks[i] = *disk;
        if (i == progress->disk_count)
            progress->disk_count++;
        progress->version++;
    }
    pthread_mutex_unlock(&progress->lock);
}

static struct json_object *disk_json(const struct bf_disk_progress *disk)
{
    struct json_object *json = json_object_new_object();

    bf_json_add_string(json, "disk", disk->key);
    bf_json_add_u64(json, "size_bytes", disk->size_bytes);
    bf_json_add_u64(json, "to_send_bytes", disk->to_send_bytes);
    bf_json_add_u64(json, "done_bytes", disk->done_bytes);
    bf_json_add_u64(json, "sent_bytes", disk->sent_bytes);
    bf_json_add_u64(json, "zero_bytes", disk->zero_bytes);
    bf_json_add_u64(json, "rate", disk->rate);
    bf_json_add_u64(json, "eta_s", disk->eta_s);
    return json;
}

struct json_object *bf_progress_json(struct bf_progress *progress)
{
    struct json_object *json = json_object_new_object();
    struct json_object *disks = json_object_new_array();
    uint64_t done = 0, to_send = 0, rate = 0, eta = 0;

    pthread_mutex_lock(&progress->lock);
    for (unsigned i = 0; i < progress->disk_count; i++) {
        const struct bf_disk_progress *disk = &progress->disks[i];

        done += disk->done_bytes;
        to_send += disk->to_send_bytes;
        rate += disk->rate;
        if (disk->eta_s > eta)
            eta = disk->eta_s;
        json_object_array_add(disks, disk_json(disk));
    }
    bf_json_add_string(json, "line", progress->line[0] ? progress->line : NULL);
    pthread_mutex_unlock(&progress->lock);
    bf_json_add_u64(json, "done_bytes", done);
    bf_json_add_u64(json, "to_send_bytes", to_send);
    bf_json_add_u64(json, "rate", rate);
    bf_json_add_u64(json, "eta_s", eta);
    json_object_object_add(json, "disks", disks);
    return json;
}
