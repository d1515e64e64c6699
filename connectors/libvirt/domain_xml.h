/* SPDX-License-Identifier: Apache-2.0 */
/* A domain's XML read: the machine of the seam, and what only this connector needs to know. */
#pragma once

#include "connectors/machine.h"

struct bf_libvirt_disk {
    char *dev;    /* "sda": key of the machine's disk of the same index */
    char *type;   /* "file", "block", "network", "volume", "dir", ... */
    char *path;   /* file or device; NULL: none (network, empty) */
    char *pool;   /* type "volume": pool and volume */
    char *volume; /* */
    char *format; /* "qcow2", "raw", ...; NULL: unknown */
    char *device; /* "disk", "lun", "cdrom", "floppy" */
    char **chain; /* paths of backing images, NULL-terminated; NULL: none, or not known (off) */
    bool plain;   /* the image is the disk: no part of it only, and no encryption around it */
    bool mirror;  /* a block copy or commit is running on it */
    bool transient;
};

struct bf_libvirt_domain {
    struct bf_machine *machine; /* power and sizes of disks are not in the XML: left 0 */
    struct bf_libvirt_disk *disks;
    size_t disk_count;    /* == machine->disk_count */
    bool agent_connected; /* the guest agent's channel is open at the guest's end */
    bool host_devices;    /* PCI or USB devices of the host are handed through */
    bool tpm;
    char *cpu_mode;    /* "host-passthrough", ...; NULL: default */
    int64_t qemu_user; /* whom its QEMU runs as; -1: unknown, or off */
    char *tag;         /* of our launch; NULL: the domain is not ours */
    char *nvram;       /* file of the UEFI variables; NULL: none, or not a file */
    char *console;     /* file the serial console is written to; NULL: none */
};

int bf_libvirt_domain_parse(const char *xml, struct bf_libvirt_domain *ret_domain,
                            struct bf_error *err);
void bf_libvirt_domain_done(struct bf_libvirt_domain *domain);
/* NULL: no disk of this name. */
const struct bf_libvirt_disk *bf_libvirt_domain_disk(const struct bf_libvirt_domain *domain,
                                                     const char *dev);
#define bf_auto_libvirt_domain                                                                     \
    __attribute__((cleanup(bf_libvirt_domain_done))) struct bf_libvirt_domain

/* Our mark in <metadata>. */
#define BF_LIBVIRT_METADATA_URI "https://blockferry.org/xmlns/libvirt/launch/1"
#define BF_LIBVIRT_METADATA_PREFIX "blockferry"
