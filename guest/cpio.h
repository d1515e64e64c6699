/* SPDX-License-Identifier: Apache-2.0 */
/* cpio archives of the "newc" form, as the Linux kernel unpacks them (its
 * Documentation/driver-api/early-userspace/buffer-format.rst). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct bf_cpio_entry {
    const char *name; /* without leading "/" or "./" */
    const char *data;
    size_t size;
    uint32_t mode, inode, links;
};

bool bf_cpio_begins(const void *data, size_t size);
/* Call `each` for every entry.  Stops behind the trailer, or with `all` goes on with further
 * archives up to the end of data.  Any malformed entry fails. */
int bf_cpio_walk(const void *data, size_t size, bool all,
                 void (*each)(const struct bf_cpio_entry *entry, void *user), void *user,
                 size_t *ret_used, struct bf_error *err);

/* Writing: entries are numbered in their order, have no owner and no time. */
void bf_cpio_add(struct bf_buf *cpio, const char *name, uint32_t mode, const void *data,
                 size_t size);
void bf_cpio_end(struct bf_buf *cpio);
