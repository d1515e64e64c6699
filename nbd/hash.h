/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3-128 by the widest vectors that the processor has; Debian's library is built for SSE2 only.
 */
#pragma once

#include <stddef.h>
#include <xxhash.h>

XXH128_hash_t bf_hash128(const void *data, size_t length);

/* hash_wide.c, compiled for these. */
void bf_hash128_avx512(const void *data, size_t length, unsigned long long ret_halves[2]);
void bf_hash128_avx2(const void *data, size_t length, unsigned long long ret_halves[2]);
