/* SPDX-License-Identifier: Apache-2.0 */
/* Places where the tests interfere.
 *
 * Only a build with BF_TEST_HOOKS has them; in all other builds they are nothing.  There
 *   BLOCKFERRY_DIE_AT=N         kills the process by SIGKILL at the N-th place it passes
 *   BLOCKFERRY_FLUSH_BYTES=N    flushes and commits so often
 *   BLOCKFERRY_SHORT=N          makes every N-th transfer of a file a short one
 */
#pragma once

#include <stdint.h>

#ifdef BF_TEST_HOOKS
void bf_die_point(const char *where);
uint64_t bf_hook_flush_bytes(uint64_t usual);
unsigned bf_hook_short(unsigned length);
#else
static inline void bf_die_point(const char *where)
{
    (void)where;
}

static inline uint64_t bf_hook_flush_bytes(uint64_t usual)
{
    return usual;
}

static inline unsigned bf_hook_short(unsigned length)
{
    return length;
}
#endif
