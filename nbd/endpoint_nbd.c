/* SPDX-License-Identifier: Apache-2.0 */
/* NBD exports: opening one, and what its server must offer. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "nbd/endpoint_nbd.h"
#include "nbd/nbd_map.h"

static void nbd_set_depth(struct bf_endpoint *endpoint, unsigned requests)
{
    bf_nbd_self(endpoint)->depth = requests;
}

static void nbd_endpoint_close(struct bf_endpoint *endpoint)
{
    struct bf_nbd_endpoint *nbd = bf_nbd_self(endpoint);

    bf_nbd_connections_close(nbd);
    bf_nbd_link_close(nbd->map);
    bf_nbd_names_done(&nbd->names);
    bf_error_clear(&nbd->last_loss);
    bf_uri_done(&nbd->uri);
    free(nbd);
}

static const struct bf_endpoint_ops nbd_ops = {
    .name = "nbd",
    .close = nbd_endpoint_close,
    .start = bf_nbd_connections_start,
    .prepare = bf_nbd_connections_prepare,
    .handle = bf_nbd_connections_handle,
    .set_depth = nbd_set_depth,
    .allocation = bf_nbd_allocation,
    .dirty = bf_nbd_dirty,
};

/* What the first connection tells about the export. */
static int learn(struct bf_nbd_endpoint *nbd, const struct bf_nbd_export *export,
                 struct bf_error *err)
{
    uint64_t block_min = export->block_min, block_max = export->block_max;

    if ((block_min & (block_min - 1)) || block_min > 65536 || (block_max && block_max < 65536))
        return bf_fail(err, BF_E_PROTOCOL, 0,
                       "%s: block sizes of %" PRIu64 " to %" PRIu64 " bytes cannot be served",
                       nbd->base.name, block_min, block_max);
    nbd->base.size = export->size;
    nbd->base.block_min = block_min ? block_min : 1;
    nbd->base.block_max = block_max;
    nbd->base.can_zero = export->flags & BF_NBD_WRITE_ZEROES;
    nbd->base.volatile_cache = true;
    nbd->export = *export;
    if (nbd->base.options.write && export->flags & BF_NBD_READ_ONLY)
        return bf_fail(err, BF_E_ENDPOINT_READONLY, 0, "%s: the export is read-only",
                       nbd->base.name);
    if (nbd->base.options.write && !(export->flags & BF_NBD_FLUSH))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "%s: the server has no flush, so nothing that is written is ever safe",
                       nbd->base.name);
    /* Without multi-conn a flush on one connection says nothing about writes on another. */
    if (!(export->flags & BF_NBD_MULTI_CONN))
        nbd->base.connections = 1;
    return 0;
}

/* What could not be verified is refused before the server hears of us. */
static int check_tls(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                     struct bf_error *err)
{
    bf_auto_free char *ca = NULL;

    if (!uri->tls || options->tls_psk || uri->nbd_psk_file)
        return 0;
    if (uri->nbd_socket)
        return bf_fail(err, BF_E_TLS, 0,
                       "%s: a certificate cannot be verified on a UNIX socket; use --tls-psk",
                       uri->text);
    if (!options->tls_certificates)
        return bf_fail(err, BF_E_TLS, 0, "%s: --tls-certificates or --tls-psk is needed",
                       uri->text);
    ca = bf_xasprintf("%s/ca-cert.pem", options->tls_certificates);
    if (bf_file_access(ca, R_OK))
        return bf_fail(err, BF_E_TLS, errno, "cannot read \"%s\"", ca);
    return 0;
}

static void fill_params(struct bf_nbd_endpoint *nbd, const struct bf_endpoint_options *options)
{
    nbd->names = (struct bf_nbd_names){.host = nbd->uri.nbd_host, .port = nbd->uri.nbd_port};
    nbd->params = (struct bf_nbd_params){
        .uri = &nbd->uri,
        .names = nbd->uri.nbd_host ? &nbd->names : NULL,
        .cipher_told = &nbd->cipher_told,
        .tls_certificates = options->tls_certificates,
        .tls_psk = options->tls_psk,
        .deadline_ms = options->deadline_ms,
        .cancel_fd = options->cancel_fd,
    };
    nbd->map_params = nbd->params;
    nbd->map_params.context = BF_NBD_ALLOCATION;
}

int bf_endpoint_nbd_open(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                         struct bf_endpoint **ret_endpoint, struct bf_error *err)
{
    assert(options->connections && options->requests);
    if (check_tls(uri, options, err))
        return -1;
    struct bf_nbd_endpoint *nbd = bf_xcalloc(1, sizeof(*nbd));
    bf_endpoint_init(&nbd->base, &nbd_ops, uri, options);
    if (bf_uri_parse(uri->text, &nbd->uri, err)) {
        bf_endpoint_close(&nbd->base);
        return -1;
    }
    fill_params(nbd, options);
    nbd->depth = options->requests;
    nbd->base.connections = options->connections < BF_NBD_CONNECTIONS_MAX ? options->connections
                                                                          : BF_NBD_CONNECTIONS_MAX;
    if (bf_nbd_connections_open(nbd, err) ||
        learn(nbd, bf_nbd_link_export(nbd->connections[0].link), err)) {
        bf_endpoint_close(&nbd->base);
        return -1;
    }
    *ret_endpoint = &nbd->base;
    return 0;
}
