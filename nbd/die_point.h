/* SPDX-License-Identifier: Apache-2.0 */
/* Places where the crash tests kill the program.
 *
 * Only a build with BF_TEST_HOOKS has them: there the environment variable BLOCKFERRY_DIE_AT=N
 * kills the process by SIGKILL at the N-th place it passes.  In all other builds they are nothing.
 */
#pragma once

#ifdef BF_TEST_HOOKS
void bf_die_point(const char *where);
#else
static inline void bf_die_point(const char *where)
{
    (void)where;
}
#endif
