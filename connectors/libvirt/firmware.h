/* SPDX-License-Identifier: Apache-2.0 */
/* UEFI variables.  libvirt keeps a machine's in a file beside it, its NVRAM, made from a template
 * at the first start; QEMU gives it to the guest as a flash chip next to the firmware's code.  Code
 * and variables are made for each other: OVMF comes with 128 KiB and with 528 KiB of them, and a
 * machine with the wrong pair does not start.  So the target takes variables only with a firmware
 * of its own whose template has their size.
 *
 * The API hands no NVRAM out: the files are read and written directly, on our own host only. */
#pragma once

#include "connectors/libvirt/session.h"
#include "connectors/target.h"

/* Members of the ops tables. */
int bf_libvirt_firmware_vars(struct bf_platform *platform, const struct bf_machine *machine,
                             char **ret_data, size_t *ret_size, char **ret_note,
                             struct bf_error *err);
int bf_libvirt_takes_firmware_vars(struct bf_platform *platform, const struct bf_machine *machine,
                                   size_t size, char **ret_why, struct bf_error *err);

/* The firmware's code for variables of this size; NULL: the host has none.  Caller frees. */
int bf_libvirt_loader_find(struct bf_libvirt *lv, const struct bf_machine *machine, size_t size,
                           char **ret_loader, struct bf_error *err);
/* The template that comes with a firmware's code, by the naming that all distributions share:
 * OVMF_CODE_4M.secboot.fd and OVMF_VARS_4M.fd.  NULL: no such name.  Caller frees.  Pure. */
char *bf_libvirt_loader_template(const char *loader);
