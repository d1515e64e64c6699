/* SPDX-License-Identifier: Apache-2.0 */
/* When the janitor tries again what it could not remove: each row has a pause of its own, which
 * doubles from seconds to minutes, so that what fails for good keeps nothing else waiting.
 *
 * In memory only: after a restart everything is tried at once.  Main thread only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BF_PATIENCE_FIRST_MS 2000
#define BF_PATIENCE_MAX_MS (5 * 60 * 1000)

struct bf_patience_row;
struct bf_patience {
    struct bf_patience_row *rows;
    size_t count;
    size_t capacity;
};

/* `id` failed, once more. */
void bf_patience_failed(struct bf_patience *patience, const char *id, uint64_t now_ms);
/* May it be tried?  What never failed may. */
bool bf_patience_is_due(const struct bf_patience *patience, const char *id, uint64_t now_ms);
/* It is gone, or needed after all. */
void bf_patience_forget(struct bf_patience *patience, const char *id);
/* Forget those that are due and that `keep` (of `user`) does not want to be remembered. */
typedef bool bf_patience_keep_fn(const char *id, void *user);
void bf_patience_forget_due(struct bf_patience *patience, uint64_t now_ms,
                            bf_patience_keep_fn *keep, void *user);
/* Milliseconds until the next one is due, 0: now; UINT64_MAX: there is none. */
uint64_t bf_patience_next(const struct bf_patience *patience, uint64_t now_ms);
/* Everything is forgotten: all of it may be tried now. */
void bf_patience_done(struct bf_patience *patience);
