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

/* Half of it, in whole pages; the rest is transferred once more. */
ssize_t bf_hook_short(ssize_t result)
{
    static int passed;
    const char *every = getenv("BLOCKFERRY_SHORT");

    if (!every || result < 8192 || ++passed % atoi(every))
        return result;
    return result / 2 & ~(ssize_t)4095;
}
#else
/* ISO C wants something in every file. */
extern int bf_die_point_unused;
#endif
