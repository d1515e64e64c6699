/* SPDX-License-Identifier: Apache-2.0 */
/* What a copy says of itself while it runs: JSON lines on standard output, a bar on standard
 * error, or nothing.  blockferry-copy(1) documents the lines.
 *
 * A progress line that a slow reader has no room for is dropped, so that a stuck reader never
 * stalls the copy; the first and the last line are not. */
#pragma once

#include <stdbool.h>

#include "nbd/engine.h"

enum bf_progress_mode { BF_PROGRESS_NONE, BF_PROGRESS_BAR, BF_PROGRESS_JSON };

struct bf_progress {
    enum bf_progress_mode mode;
    uint64_t started_ms;
    uint64_t to_send;
    struct {
        uint64_t at_ms;
        uint64_t moved;
    } samples[5]; /* of the last 2 s, a ring */
    unsigned sample_count;
};

struct bf_progress_result {
    const struct bf_copy_stats *stats;
    const char *root;   /* NULL: unknown */
    const char *sha256; /* NULL: not asked for */
};

void bf_progress_start(struct bf_progress *progress, enum bf_progress_mode mode, uint64_t size,
                       uint64_t to_send, size_t map_extents, double map_ms);
void bf_progress_show(struct bf_progress *progress, const struct bf_copy_stats *stats);
void bf_progress_done(struct bf_progress *progress, const struct bf_progress_result *result);
void bf_progress_error(const struct bf_progress *progress, const struct bf_error *error);
