/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of every call through a connector's tables, for connector.c, source.c and target.c.
 *
 * A call runs between enter and leave: arguments are asserted (they come from our own service, so
 * a bad one is a bug), a cancel is looked for, and afterwards "failed" and "error set" must agree,
 * or a connector would lose the reason of a failure.
 */
#pragma once

#include "connectors/ops.h"

/* BF_E_CANCELLED when the platform's work is to end. */
int bf_front_enter(struct bf_platform *platform, struct bf_error *err);
/* A removal, which a cancel does not touch. */
void bf_front_enter_removal(struct bf_platform *platform, const struct bf_error *err);
/* Returns rc. */
int bf_front_leave(struct bf_platform *platform, int rc, const struct bf_error *err);
