/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/gnutls_api.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"

#define LIBRARY "libgnutls.so.30"

struct bf_gnutls bf_gnutls;

static const struct {
    const char *name;
    size_t offset; /* in struct bf_gnutls */
} functions[] = {
#define X(name) {#name, offsetof(struct bf_gnutls, name)},
    BF_GNUTLS_FUNCTIONS(X)
#undef X
};

int bf_gnutls_load(struct bf_error *err)
{
    struct bf_gnutls all;

    if (bf_gnutls.gnutls_init)
        return 0;
    /* It initialises itself.  It stays loaded: sessions may live to the end. */
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_NODELETE);
    if (!handle)
        return bf_fail(err, BF_E_CHILD_MISSING, 0, "needs the package libgnutls30: %s", dlerror());
    for (size_t i = 0; i < bf_array_length(functions); i++) {
        void *at = dlsym(handle, functions[i].name);
        if (!at)
            return bf_fail(err, BF_E_CHILD_MISSING, 0, "%s is too old: it has no %s()", LIBRARY,
                           functions[i].name);
        memcpy((char *)&all + functions[i].offset, &at, sizeof(at));
    }
    bf_gnutls = all;
    return 0;
}
