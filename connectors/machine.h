/* SPDX-License-Identifier: Apache-2.0 */
/* A machine as its platform lists it: plain data, no platform's words.
 *
 * Ownership: bf_machine_free() frees all.  Texts may be NULL where noted.
 * The JSON form (bf_machine_to_json) is the API's and the store's form.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum bf_power { BF_POWER_UNKNOWN = 0, BF_POWER_ON, BF_POWER_OFF, BF_POWER_PAUSED, BF_POWER_MAX };
enum bf_firmware {
    BF_FIRMWARE_BIOS = 0,
    BF_FIRMWARE_UEFI,
    BF_FIRMWARE_UEFI_SECURE,
    BF_FIRMWARE_MAX
};

struct bf_machine_disk {
    char *key;      /* stable name of the disk within its machine ("sda", "2000") */
    char *identity; /* what tells this disk from another put in its place (path, uuid); NULL unknown
                     */
    char *bus;      /* "virtio", "sata", "scsi", "ide", "nvme", "usb" */
    char *format;   /* "raw", "qcow2", "rbd", "vmdk"; NULL unknown */
    char *source;   /* where the platform keeps it, for people; NULL unknown */
    uint64_t size_bytes;
    int boot_order; /* 1 = first; 0 = not in the boot order */
    bool read_only;
    bool shared;    /* another machine may write it */
    bool removable; /* cdrom, floppy: never replicated */
};

struct bf_machine_nic {
    char *mac;
    char *network;    /* the platform's name of the network; NULL unknown */
    char *model;      /* "virtio", "e1000", ...; NULL unknown */
    char **addresses; /* NULL-terminated; NULL: unknown */
};

struct bf_machine {
    char *id;   /* the platform's stable id (libvirt: UUID) */
    char *name; /* as the admin sees it; any UTF-8 */
    enum bf_power power;
    unsigned cpus;
    uint64_t memory_bytes;
    enum bf_firmware firmware;
    char *arch;     /* "x86_64" */
    char *chipset;  /* "pc", "q35"; NULL unknown */
    char *guest_os; /* what the platform says; NULL unknown */
    bool agent;     /* a guest agent is configured (not: answers) */
    struct bf_machine_disk *disks;
    size_t disk_count;
    struct bf_machine_nic *nics;
    size_t nic_count;
};

struct bf_machine *bf_machine_new(void);
void bf_machine_free(struct bf_machine *machine);
struct bf_machine_disk *bf_machine_add_disk(struct bf_machine *machine); /* zeroed, borrowed */
struct bf_machine_nic *bf_machine_add_nic(struct bf_machine *machine);
/* NULL if there is none of this key. */
const struct bf_machine_disk *bf_machine_disk(const struct bf_machine *machine, const char *key);

struct json_object *bf_machine_to_json(const struct bf_machine *machine);
int bf_machine_from_json(struct json_object *json, struct bf_machine **ret_machine,
                         struct bf_error *err);

const char *bf_power_to_string(enum bf_power power);
enum bf_power bf_power_from_string(const char *text); /* UNKNOWN if unknown */
const char *bf_firmware_to_string(enum bf_firmware firmware);
int bf_firmware_from_string(const char *text, enum bf_firmware *ret_firmware, struct bf_error *err);

static inline void bf_machine_free_at(struct bf_machine **at)
{
    bf_machine_free(*at);
}
#define bf_auto_machine __attribute__((cleanup(bf_machine_free_at))) struct bf_machine
