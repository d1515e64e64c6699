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
#else
/* ISO C wants something in every file. */
extern int bf_die_point_unused;
#endif
