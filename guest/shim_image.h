/* SPDX-License-Identifier: Apache-2.0 */
/* The init shim (shim/init.c) as built: a static program for the guest. */
#pragma once

#include <stddef.h>

extern const unsigned char bf_shim_image[];
extern const size_t bf_shim_image_size;
