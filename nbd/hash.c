/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/hash.h"

XXH128_hash_t bf_hash128(const void *data, size_t length)
{
#ifdef BF_HAVE_WIDE_HASH
    unsigned long long halves[2];

    if (__builtin_cpu_supports("avx512f"))
        bf_hash128_avx512(data, length, halves);
    else if (__builtin_cpu_supports("avx2"))
        bf_hash128_avx2(data, length, halves);
    else
        return XXH3_128bits(data, length);
    return (XXH128_hash_t){.low64 = halves[0], .high64 = halves[1]};
#else
    return XXH3_128bits(data, length);
#endif
}
