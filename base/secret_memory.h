/* SPDX-License-Identifier: Apache-2.0 */
/* Inside base only: memory for what must not leak.  Freed (and wiped) by sodium_free(). */
#pragma once

#include <stddef.h>

void *bf_secret_memory(size_t size) __attribute__((returns_nonnull));
