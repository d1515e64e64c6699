/* SPDX-License-Identifier: Apache-2.0 */
/* Which kernel modules a driver needs, from a module directory's modules.dep and modules.builtin
 * (kmod's text forms; the guest's own, untrusted). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Is the module part of the kernel itself?  `builtin` is the text of modules.builtin. */
bool bf_module_is_builtin(const char *builtin, const char *module);

/* A list of module paths relative to the module directory, in load order, each once. */
struct bf_module_list {
    char **paths;
    size_t count, capacity;
};

/* Add what `module` needs and then itself.  False: modules.dep does not know it, or its
 * dependencies are out of all bounds; the list may have grown then. */
bool bf_module_list_add(struct bf_module_list *list, const char *dependencies, const char *module);
void bf_module_list_done(struct bf_module_list *list);

/* "kernel/drivers/block/virtio_blk.ko.xz" -> "virtio_blk.ko"; caller frees. */
char *bf_module_file_name(const char *path);
