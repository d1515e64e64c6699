/* SPDX-License-Identifier: Apache-2.0 */
/* The first boot's program (firstboot/firstboot.c) as built for Windows; size 0: built without it
 * (option windows_firstboot). */
#pragma once

#include <stddef.h>

extern const unsigned char bf_firstboot_image[];
extern const size_t bf_firstboot_image_size;
