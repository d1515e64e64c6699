/* SPDX-License-Identifier: Apache-2.0 */
/* The library's own code, compiled in here for wider vectors: once for AVX2 and once for AVX-512,
 * by the build's -DBF_HASH_NAME.  Its types are renamed by XXH_INLINE_ALL, hence the plain halves.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

void BF_HASH_NAME(const void *data, size_t length, unsigned long long ret_halves[2]);

void BF_HASH_NAME(const void *data, size_t length, unsigned long long ret_halves[2])
{
    XXH128_hash_t hash = XXH3_128bits(data, length);

    ret_halves[0] = hash.low64;
    ret_halves[1] = hash.high64;
}
