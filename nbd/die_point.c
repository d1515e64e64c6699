/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/die_point.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef BF_TEST_HOOKS
void bf_die_point(const char *where)
{
    static int passed;
    const char *at = getenv("BLOCKFERRY_DIE_AT");

    if (!at || ++passed != atoi(at))
        return;
    fprintf(stderr, "dying at point %d, %s\n", passed, where);
    kill(getpid(), SIGKILL);
}

uint64_t bf_hook_flush_bytes(uint64_t usual)
{
    const char *bytes = getenv("BLOCKFERRY_FLUSH_BYTES");

    return bytes ? strtoull(bytes, NULL, 10) : usual;
}

/* Half of it, in whole pages. */
unsigned bf_hook_short(unsigned length)
{
    static int passed;
    const char *every = getenv("BLOCKFERRY_SHORT");

    if (!every || length < 8192 || ++passed % atoi(every))
        return length;
    return length / 2 & ~4095u;
}
#else
/* ISO C wants something in every file. */
extern int bf_die_point_unused;
#endif
