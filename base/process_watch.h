/* SPDX-License-Identifier: Apache-2.0 */
/* Inside base only: a descriptor that becomes readable when a child ends. */
#pragma once

#include <sys/types.h>

/* A pidfd; where there is none (valgrind 3.19 and some containers refuse pidfd_open), an eventfd
 * that a thread signals.  -1 and errno on failure.  The child is not reaped by it. */
int bf_watch_end(pid_t pid);
