/* SPDX-License-Identifier: Apache-2.0 */
/* null: takes everything at once and keeps nothing.  For measurements. */
#include <stdlib.h>

#include "base/text.h"
#include "nbd/endpoint.h"

static void null_close(struct bf_endpoint *endpoint)
{
    free(endpoint);
}

static bool null_start(struct bf_endpoint *endpoint, struct bf_request *request)
{
    bf_endpoint_finish(endpoint, request, 0);
    return true;
}

static unsigned null_prepare(struct bf_endpoint *endpoint, struct pollfd *fds, unsigned max,
                             uint64_t now_ms, uint64_t *wake_ms)
{
    (void)endpoint, (void)fds, (void)max, (void)now_ms, (void)wake_ms;
    return 0;
}

static int null_handle(struct bf_endpoint *endpoint, const struct pollfd *fds, unsigned count,
                       uint64_t now_ms, struct bf_error *err)
{
    (void)endpoint, (void)fds, (void)count, (void)now_ms, (void)err;
    return 0;
}

static const struct bf_endpoint_ops null_ops = {
    .name = "null",
    .close = null_close,
    .start = null_start,
    .prepare = null_prepare,
    .handle = null_handle,
};

int bf_endpoint_null_open(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                          struct bf_endpoint **ret_endpoint, struct bf_error *err)
{
    struct bf_endpoint *endpoint = bf_xcalloc(1, sizeof(*endpoint));

    (void)err;
    bf_endpoint_init(endpoint, &null_ops, uri, options);
    endpoint->size = options->create_size;
    endpoint->can_zero = true;
    *ret_endpoint = endpoint;
    return 0;
}
