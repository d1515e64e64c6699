/* SPDX-License-Identifier: Apache-2.0 */
/* The compressions of initramfs images and kernel modules: zlib, liblzma, libzstd. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/text.h"
#include "guest/initrd.h"

/* What a compressed stream begins with; BF_INITRD_METHOD_MAX: none of ours. */
enum bf_initrd_method bf_compression_detect(const void *data, size_t size);

/* Unpack one stream of the method from the start of data.  ret_used: where it ended. */
int bf_decompress(enum bf_initrd_method method, const void *data, size_t size, size_t max,
                  struct bf_buf *ret_plain, size_t *ret_used, struct bf_error *err);
/* Reproducible: no names, no times.  xz with CRC32, as the kernel wants it. */
int bf_compress(enum bf_initrd_method method, const void *data, size_t size,
                struct bf_buf *ret_packed, struct bf_error *err);
