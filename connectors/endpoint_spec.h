/* SPDX-License-Identifier: Apache-2.0 */
/* How to reach one disk's bytes: what blockferry-copy and the converter are given. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum bf_map_kind {
    BF_MAP_ALLOCATION = 0, /* whole disk, asked of the endpoint */
    BF_MAP_BITMAP,         /* NBD dirty bitmap `map_name` of the endpoint */
    BF_MAP_FILE,           /* extents in the file `map_name` */
    BF_MAP_SINCE,          /* rbd snapshot `map_name` to diff from */
    BF_MAP_COMPARE,        /* no map: read all, write what differs from the last point */
    BF_MAP_KIND_MAX,
};

struct bf_endpoint_spec {
    char *uri;            /* as blockferry-copy takes it; holds no secret */
    char *format;         /* "raw" unless the URI is a file path of another format ("qcow2") */
    enum bf_map_kind map; /* sources */
    char *map_name;       /* NULL where the kind needs none */
    char *tls_directory;  /* NULL: none */
    bool prove;           /* sources: that these are the disk's bytes is to be proven by comparing
                             some that did not change with the last point's digest */
    bool reads_as_zero;   /* targets: proven to read as zero before the first write */
    uint64_t size_bytes;
};

void bf_endpoint_spec_done(struct bf_endpoint_spec *spec); /* frees content */
const char *bf_map_kind_to_string(enum bf_map_kind kind);
