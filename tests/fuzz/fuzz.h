/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz targets.  With libFuzzer (meson option fuzz) they search; without it fuzz_main.c runs each
 * file of a corpus through them as plain tests. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As assert(), in every build. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)
