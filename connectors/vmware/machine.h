/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual machine of vSphere: what the seam shows of it, and what rounds and prechecks need.
 *
 * One table of property paths (machine.c) says what is asked for; the whole `config` of a machine
 * would be hundreds of kilobytes.  The seam's id is the moref value ("vm-57"): stable as long as
 * the machine stays registered at this vCenter.  A disk's key is its device key ("2000"), its
 * identity the backing's uuid.
 */
#pragma once

#include "connectors/vmware/property.h"

struct bf_vmware_device {
    char *type; /* "VirtualDisk", "ParaVirtualSCSIController" */
    int key, controller_key, unit, bus;
    char *shared_bus; /* of SCSI controllers: "noSharing", ... */
};

struct bf_vmware_disk {
    char *key; /* as text: the seam's */
    char *file;
    char *uuid;
    char *change_id;     /* of a snapshot's disk; NULL: not tracked */
    char *backing;       /* type */
    char *mode;          /* "persistent", "independent_persistent", ... */
    char *sharing;       /* "sharingNone", "sharingMultiWriter"; NULL unknown */
    char *compatibility; /* of RDMs: "physicalMode", "virtualMode" */
    char *key_id;        /* encrypted */
    char *datastore;     /* moref */
    char *controller;    /* type of its controller */
    char *shared_bus;    /* of its controller */
    char *place;         /* controller type, bus and unit: "ParaVirtualSCSIController0:1" */
    char *content_id;  /* equal ones, of files that nobody writes, are equal bytes; NULL unknown */
    bool has_parent;   /* the file is a delta on another */
    char *parent_file; /* that one; NULL: none */
    char **parents;    /* it and all below it, NULL-terminated; NULL: none */
    char *parent_content_id;
    uint64_t size_bytes;
};

struct bf_vmware_snapshot {
    char *ref;    /* moref */
    char *parent; /* moref of the one above in the tree; NULL: none */
    char *name;
    char *created;
    bool quiesced;
    bool ours; /* its name begins with a tag */
};

struct bf_vmware_machine {
    struct bf_machine *machine; /* the seam's */
    char *host;                 /* moref */
    char *version;              /* "vmx-19" */
    char *tools;                /* "guestToolsRunning", ... */
    char *connection;           /* "connected", ... */
    char *fault_tolerance;
    char *key_id;  /* encrypted configuration */
    char *current; /* moref of the snapshot it runs on; NULL none */
    char *question;
    char **datastores; /* morefs, NULL-terminated */
    bool template, tracking, tracking_supported, consolidation;
    struct bf_vmware_device *devices;
    size_t device_count, device_capacity;
    struct bf_vmware_disk *disks; /* parallel to machine->disks, without removable media */
    size_t disk_count, disk_capacity;
    struct bf_vmware_snapshot *snapshots; /* all of the tree */
    size_t snapshot_count, snapshot_capacity;
};

/* By moref.  `gone` is the error when there is none. */
int bf_vmware_machine_get(struct bf_vmware *vw, const char *id, enum bf_error_code gone,
                          struct bf_vmware_machine **ret_machine, struct bf_error *err);
void bf_vmware_machine_free(struct bf_vmware_machine *machine);
const struct bf_vmware_disk *bf_vmware_machine_disk(const struct bf_vmware_machine *machine,
                                                    const char *key);
/* The devices of a machine or snapshot: a `val` of config.hardware.device. */
void bf_vmware_devices_parse(xmlNodePtr val, struct bf_vmware_machine *machine);
/* A network card's type? */
bool bf_vmware_device_is_nic(const char *type);
/* "persistent" and virtual-mode disks are part of snapshots. */
bool bf_vmware_disk_snapshots(const struct bf_vmware_disk *disk);

/* The seam's listing operations. */
int bf_vmware_machines(struct bf_platform *platform, bf_machine_fn *fn, void *user,
                       struct bf_error *err);
int bf_vmware_machine(struct bf_platform *platform, const char *id_or_name,
                      struct bf_machine **ret_machine, struct bf_error *err);

static inline void bf_vmware_machine_free_at(struct bf_vmware_machine **at)
{
    bf_vmware_machine_free(*at);
}
#define bf_auto_vmware_machine                                                                     \
    __attribute__((cleanup(bf_vmware_machine_free_at))) struct bf_vmware_machine
