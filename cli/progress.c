/* SPDX-License-Identifier: Apache-2.0 */
/* A running job on the screen: one bar that is drawn over on a terminal, else a line now and then.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"

#define LINE_EVERY_MS 10000
#define BAR_MIN 10
#define BAR_MAX 40

struct bf_progress {
    const struct bf_cli *cli;
    FILE *out;
    bool bar; /* standard error is a terminal: draw there */
    bool drawn;
    char *step; /* shown last */
    char *text; /* likewise */
    int tenth;  /* of the work, shown last */
    uint64_t shown_ms;
};

struct bf_progress *bf_progress_new(const struct bf_cli *cli)
{
    struct bf_progress *progress = bf_xcalloc(1, sizeof(*progress));

    progress->cli = cli;
    progress->bar = cli->terminal && isatty(STDERR_FILENO);
    /* JSON has standard output to itself. */
    progress->out = progress->bar || cli->json ? stderr : stdout;
    progress->tenth = -1;
    return progress;
}

static void step_count(struct json_object *job, unsigned *ret_done, unsigned *ret_all)
{
    struct json_object *steps = bf_cli_array(job, "steps");

    *ret_all = (unsigned)bf_cli_count(steps);
    *ret_done = 0;
    for (size_t i = 0; i < *ret_all; i++)
        *ret_done += bf_streq(bf_cli_text(json_object_array_get_idx(steps, i), "state"), "done");
}

/* "snapshot (1/4)" */
static char *step_text(struct json_object *job)
{
    unsigned done, all;
    const char *step = bf_cli_text_or(job, "step", bf_cli_text_or(job, "kind", "working"));

    step_count(job, &done, &all);
    if (!all)
        return bf_cli_shown(step);
    bf_auto_free char *shown = bf_cli_shown(step);

    return bf_xasprintf("%s (%u/%u)", shown, done < all ? done + 1 : all, all);
}

/* "3.4 GiB of 8 GiB, 412 MiB/s, 12 s left"; percent below 0: nothing is being copied. */
static char *copy_text(struct json_object *job, int *ret_percent)
{
    struct json_object *progress = bf_cli_object(job, "progress");
    double done, total, rate, eta;
    bf_auto_buf text = {0};

    *ret_percent = -1;
    if (!progress || !bf_cli_number(progress, "done_bytes", &done) ||
        !bf_cli_number(progress, "to_send_bytes", &total) || total <= 0)
        return bf_cli_shown(bf_cli_text_or(progress, "line", ""));
    bf_auto_free char *done_text = bf_cli_size(progress, "done_bytes");
    bf_auto_free char *total_text = bf_cli_size(progress, "to_send_bytes");

    *ret_percent = done >= total ? 100 : (int)(done * 100 / total);
    bf_buf_addf(&text, "%s of %s", done_text, total_text);
    if (bf_cli_number(progress, "rate", &rate) && rate > 0) {
        bf_auto_free char *rate_text = bf_format_bytes((uint64_t)rate);

        bf_buf_addf(&text, ", %s/s", rate_text);
    }
    if (bf_cli_number(progress, "eta_s", &eta) && *ret_percent < 100) {
        uint64_t seconds = eta < 1 ? 1 : (uint64_t)(eta + 0.5);
        bf_auto_free char *eta_text = seconds < 60 ? bf_xasprintf("%u s", (unsigned)seconds)
                                                   : bf_cli_seconds((double)seconds);

        bf_buf_addf(&text, ", %s left", eta_text);
    }
    return bf_steal(text.text);
}

static void draw_bar(struct bf_progress *progress, const char *step, const char *text, int percent)
{
    static const char *const parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    unsigned used = (unsigned)(strlen(step) + strlen(text)) + 12;
    unsigned room = progress->cli->width > used ? progress->cli->width - used : 0;
    unsigned width = room > BAR_MAX ? BAR_MAX : room;
    unsigned eighths = percent < 0 ? 0 : width * 8 * (unsigned)percent / 100;

    fputs("\r\033[K", progress->out);
    fprintf(progress->out, "%s ", step);
    if (percent >= 0 && width >= BAR_MIN) {
        fputs(progress->cli->utf8 ? "\033[36m" : "[", progress->out);
        for (unsigned i = 0; i < eighths / 8; i++)
            fputs(progress->cli->utf8 ? "█" : "#", progress->out);
        if (progress->cli->utf8)
            fputs(parts[eighths % 8], progress->out);
        fputs(progress->cli->utf8 ? "\033[90m" : "", progress->out);
        for (unsigned i = eighths / 8 + (progress->cli->utf8 && eighths % 8); i < width; i++)
            fputs(progress->cli->utf8 ? "░" : ".", progress->out);
        fputs(progress->cli->utf8 ? "\033[0m" : "]", progress->out);
    }
    if (percent >= 0)
        fprintf(progress->out, " %3d%%", percent);
    if (*text)
        fprintf(progress->out, " %s", text);
    progress->drawn = true;
    fflush(progress->out);
}

static void print_line(struct bf_progress *progress, const char *step, const char *text,
                       int percent)
{
    bool new_step = !bf_streq(step, progress->step);
    bool moved = percent / 10 != progress->tenth && percent >= 0;

    if (!new_step && !moved &&
        (bf_streq(text, progress->text) || bf_now_ms() - progress->shown_ms < LINE_EVERY_MS))
        return;
    if (percent >= 0)
        fprintf(progress->out, "  %s: %d%%, %s\n", step, percent, text);
    else
        fprintf(progress->out, "  %s%s%s\n", step, *text ? ": " : "", text);
    fflush(progress->out);
    progress->tenth = percent >= 0 ? percent / 10 : -1;
    progress->shown_ms = bf_now_ms();
    free(progress->step);
    progress->step = bf_xstrdup(step);
    free(progress->text);
    progress->text = bf_xstrdup(text);
}

void bf_progress_show(struct bf_progress *progress, struct json_object *job)
{
    int percent;
    bf_auto_free char *step = step_text(job);
    bf_auto_free char *text = copy_text(job, &percent);

    if (!progress->bar) {
        if (progress->cli->quiet)
            return;
        print_line(progress, step, text ? text : "", percent);
        return;
    }
    draw_bar(progress, step, text ? text : "", percent);
}

void bf_progress_done(struct bf_progress *progress)
{
    if (!progress)
        return;
    if (progress->drawn) {
        fputs("\r\033[K", progress->out);
        fflush(progress->out);
    }
    free(progress->step);
    free(progress->text);
    free(progress);
}
