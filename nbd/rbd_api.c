/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/rbd_api.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"

struct bf_ceph bf_ceph;

struct function {
    const char *name;
    size_t offset; /* in struct bf_ceph */
};

#define X(name) {#name, offsetof(struct bf_ceph, name)},
static const struct function rados_functions[] = {BF_RADOS_FUNCTIONS(X)};
static const struct function rbd_functions[] = {BF_RBD_FUNCTIONS(X)};
#undef X

/* The library stays loaded: its threads may outlive everything. */
static int load(const char *library, const char *package, const struct function *functions,
                size_t count, struct bf_ceph *ceph, struct bf_error *err)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_NODELETE);

    if (!handle)
        return bf_fail(err, BF_E_CHILD_MISSING, 0, "rbd: needs the package %s: %s", package,
                       dlerror());
    for (size_t i = 0; i < count; i++) {
        void *at = dlsym(handle, functions[i].name);
        if (!at)
            return bf_fail(err, BF_E_CHILD_MISSING, 0, "%s is too old: it has no %s()", library,
                           functions[i].name);
        memcpy((char *)ceph + functions[i].offset, &at, sizeof(at));
    }
    return 0;
}

int bf_ceph_load(struct bf_error *err)
{
    struct bf_ceph ceph;

    if (bf_ceph.rbd_open)
        return 0;
    if (load("librados.so.2", "librados2", rados_functions, bf_array_length(rados_functions), &ceph,
             err) ||
        load("librbd.so.1", "librbd1", rbd_functions, bf_array_length(rbd_functions), &ceph, err))
        return -1;
    bf_ceph = ceph;
    return 0;
}
