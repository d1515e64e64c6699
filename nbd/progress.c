/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/progress.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#define BAR_WIDTH 30

/* `must`: wait for the reader. */
static void put_line(const char *text, bool must)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    bf_auto_error ignored = BF_ERROR_INIT; /* a reader that is gone must not end the copy */

    if (must || poll(&out, 1, 0) > 0)
        (void)bf_fd_write_all(STDOUT_FILENO, text, strlen(text), &ignored);
}

static uint64_t per_second(uint64_t bytes, uint64_t ms)
{
    return ms ? (uint64_t)((double)bytes * 1000 / (double)ms) : 0;
}

static uint64_t moved(const struct bf_copy_stats *stats)
{
    return stats->done + stats->verified;
}

/* Over the samples of the last 2 s. */
static uint64_t rate_now(struct bf_progress *p, const struct bf_copy_stats *stats, uint64_t now_ms)
{
    unsigned ring = (unsigned)bf_array_length(p->samples);
    unsigned oldest = p->sample_count >= ring ? p->sample_count % ring : 0;
    uint64_t since_ms = p->sample_count ? p->samples[oldest].at_ms : p->started_ms;
    uint64_t before = p->sample_count ? p->samples[oldest].moved : 0;
    uint64_t now = moved(stats);

    p->samples[p->sample_count % ring].at_ms = now_ms;
    p->samples[p->sample_count % ring].moved = now;
    p->sample_count++;
    return now > before ? per_second(now - before, now_ms - since_ms) : 0;
}

static void show_json(const struct bf_copy_stats *stats, uint64_t rate, uint64_t mean)
{
    uint64_t rest = stats->to_send - stats->done + (stats->to_verify - stats->verified);
    uint64_t now = rate ? rate : mean, line_mean = mean ? mean : rate;
    uint64_t fast = bf_max_u64(now, line_mean), slow = bf_min_u64(now, line_mean);
    char eta[128] = "\"eta_s\":null,\"eta_min_s\":null,\"eta_max_s\":null", line[640];

    /* From now's rate and from the mean: when the two differ much, little is sure. */
    if (slow)
        snprintf(eta, sizeof(eta),
                 "\"eta_s\":%" PRIu64 ",\"eta_min_s\":%" PRIu64 ",\"eta_max_s\":%" PRIu64,
                 rest / now, rest / fast, rest / slow);
    snprintf(line, sizeof(line),
             "{\"event\":\"progress\",\"size\":%" PRIu64 ",\"to_send\":%" PRIu64
             ",\"done\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"zero\":%" PRIu64 ",\"rate\":%" PRIu64
             ",\"rate_mean\":%" PRIu64 ",%s,\"verified\":%" PRIu64 "}\n",
             stats->size, stats->to_send, stats->done, stats->sent, stats->zero, rate, mean, eta,
             stats->verified);
    put_line(line, false);
}

static void show_bar(const struct bf_copy_stats *stats, uint64_t rate)
{
    uint64_t whole = stats->to_send + stats->to_verify;
    unsigned permille = whole ? (unsigned)((double)moved(stats) * 1000 / (double)whole) : 1000;
    unsigned filled = permille * BAR_WIDTH / 1000;
    bf_auto_free char *amount = bf_format_bytes(moved(stats));
    bf_auto_free char *speed = bf_format_bytes(rate);

    fprintf(stderr, "\r[%.*s%.*s] %3u.%u %%  %s  %s/s    ", (int)filled,
            "##############################", (int)(BAR_WIDTH - filled),
            "..............................", permille / 10, permille % 10, amount, speed);
    fflush(stderr);
}

void bf_progress_start(struct bf_progress *p, enum bf_progress_mode mode, uint64_t size,
                       uint64_t to_send, size_t map_extents, double map_ms)
{
    char line[256];

    *p = (struct bf_progress){.mode = mode, .started_ms = bf_now_ms(), .to_send = to_send};
    if (mode != BF_PROGRESS_JSON)
        return;
    snprintf(line, sizeof(line),
             "{\"event\":\"start\",\"size\":%" PRIu64 ",\"to_send\":%" PRIu64
             ",\"map_extents\":%zu,\"map_ms\":%.1f}\n",
             size, to_send, map_extents, map_ms);
    put_line(line, true);
}

void bf_progress_show(struct bf_progress *p, const struct bf_copy_stats *stats)
{
    uint64_t now_ms = bf_now_ms();
    uint64_t rate = rate_now(p, stats, now_ms);

    if (p->mode == BF_PROGRESS_JSON)
        show_json(stats, rate, per_second(moved(stats), now_ms - p->started_ms));
    else if (p->mode == BF_PROGRESS_BAR)
        show_bar(stats, rate);
}

static char *quoted(const char *hex)
{
    return hex ? bf_xasprintf("\"%s\"", hex) : bf_xstrdup("null");
}

void bf_progress_done(struct bf_progress *p, const struct bf_progress_result *result)
{
    const struct bf_copy_stats *stats = result->stats;
    double seconds = (double)(bf_now_ms() - p->started_ms) / 1000;
    bf_auto_free char *root = quoted(result->root), *sha256 = quoted(result->sha256);
    char line[640];

    if (p->mode == BF_PROGRESS_BAR) {
        show_bar(stats, per_second(moved(stats), bf_now_ms() - p->started_ms));
        fprintf(stderr, "\n");
    }
    if (p->mode != BF_PROGRESS_JSON)
        return;
    bf_progress_show(p, stats);
    snprintf(line, sizeof(line),
             "{\"event\":\"done\",\"size\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"zero\":%" PRIu64
             ",\"read\":%" PRIu64
             ",\"seconds\":%.3f,\"digest\":%s,\"sha256\":%s,\"verified\":%" PRIu64 "}\n",
             stats->size, stats->sent, stats->zero, stats->read, seconds, root, sha256,
             stats->verified);
    put_line(line, true);
}

void bf_progress_error(const struct bf_progress *p, const struct bf_error *error)
{
    if (p->mode == BF_PROGRESS_BAR)
        fprintf(stderr, "\n");
    if (p->mode != BF_PROGRESS_JSON)
        return;
    bf_auto_json *event = json_object_new_object();
    bf_json_add_string(event, "event", "error");
    bf_json_add_string(event, "code", bf_error_id(error->code));
    bf_json_add_string(event, "message", error->message);
    bf_json_add_string(event, "evidence", error->evidence);
    bf_auto_free char *line = bf_xasprintf("%s\n", bf_json_text(event));
    put_line(line, true);
}
