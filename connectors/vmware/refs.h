/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON texts the connector hands to the service: refs of snapshots, and baselines.
 * They come back after restarts and upgrades, so fields are only ever added. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct bf_vmware_ref_disk {
    char *key;
    char *file;
    char *uuid;
    char *change_id;  /* the snapshot's; NULL: not tracked */
    char *place;      /* "ParaVirtualSCSIController0:1": where it hangs; NULL unknown */
    char *since;      /* change id to count from; NULL: no delta (refs only) */
    char *content_id; /* of its file while nobody writes it; NULL unknown */
    uint64_t size_bytes;
};

/* A snapshot's ref, and a baseline: both are "this machine at that moment". */
struct bf_vmware_moment {
    char *machine; /* moref */
    char *tag;
    char *snapshot; /* moref */
    char *created;  /* as the platform writes it */
    char *host;     /* moref */
    char *parent;   /* moref of the snapshot it was made on top of; NULL: none */
    struct bf_vmware_ref_disk *disks;
    size_t disk_count;
};
char *bf_vmware_moment_write(const struct bf_vmware_moment *moment);
int bf_vmware_moment_read(const char *text, struct bf_vmware_moment *ret_moment,
                          struct bf_error *err);
void bf_vmware_moment_done(struct bf_vmware_moment *moment);
#define bf_auto_vmware_moment                                                                      \
    __attribute__((cleanup(bf_vmware_moment_done))) struct bf_vmware_moment
const struct bf_vmware_ref_disk *bf_vmware_moment_disk(const struct bf_vmware_moment *moment,
                                                       const char *key);
