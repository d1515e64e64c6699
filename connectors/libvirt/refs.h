/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON texts a source hands to the service: refs of snapshots, and baselines.
 * They come back after restarts and upgrades, so fields are only ever added. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct bf_libvirt_ref_disk {
    char *key;
    char *path;   /* NULL: not a file or device of the source's host */
    char *format; /* NULL: unknown */
    char *bitmap; /* to ask the endpoint for; NULL: no delta */
    uint64_t size_bytes;
    int64_t modified_ns; /* machine off: the image's time of change; 0 unknown */
};

/* A snapshot: a backup job of a running machine, or the images of one that is off. */
struct bf_libvirt_ref {
    char *machine_id;
    char *tag;
    bool off;
    char *socket;  /* job on a UNIX socket; NULL: TCP */
    char *address; /* job on TCP */
    uint64_t port;
    bool tls;
    int64_t taken_us;
    struct bf_libvirt_ref_disk *disks;
    size_t disk_count;
};
char *bf_libvirt_ref_write(const struct bf_libvirt_ref *ref);
int bf_libvirt_ref_read(const char *text, struct bf_libvirt_ref *ret_ref, struct bf_error *err);
void bf_libvirt_ref_done(struct bf_libvirt_ref *ref);
#define bf_auto_libvirt_ref __attribute__((cleanup(bf_libvirt_ref_done))) struct bf_libvirt_ref

struct bf_libvirt_baseline_disk {
    char *key;
    char *path;
    uint64_t size_bytes;
    bool tracked; /* its image records changes since */
};

/* A checkpoint; its XML is kept because libvirt may lose it (undefine, another host) while
 * the bitmaps in the images live on. */
struct bf_libvirt_baseline {
    char *machine_id;
    char *checkpoint; /* its name: the tag of the round that made it */
    char *xml;
    struct bf_libvirt_baseline_disk *disks;
    size_t disk_count;
};
char *bf_libvirt_baseline_write(const struct bf_libvirt_baseline *baseline);
int bf_libvirt_baseline_read(const char *text, struct bf_libvirt_baseline *ret_baseline,
                             struct bf_error *err);
void bf_libvirt_baseline_done(struct bf_libvirt_baseline *baseline);
#define bf_auto_libvirt_baseline                                                                   \
    __attribute__((cleanup(bf_libvirt_baseline_done))) struct bf_libvirt_baseline
const struct bf_libvirt_baseline_disk *
bf_libvirt_baseline_disk(const struct bf_libvirt_baseline *baseline, const char *key);
