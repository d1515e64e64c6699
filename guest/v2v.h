/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion by virt-v2v-in-place: for every guest it knows, minutes long, and it runs the
 * guest's own programs (in its appliance).
 *
 * All disks go in by one libvirt domain XML, each as a file by a FUSE export.  All calls of
 * one conversion use a directory of their own below the request's work directory. */
#pragma once

#include "guest/convert.h"

int bf_v2v_run(const struct bf_convert_request *request, struct bf_convert_report *ret_report,
               struct bf_error *err);

/* The domain XML; `paths` are the disks in order.  Caller frees. */
char *bf_v2v_domain_xml(const char *name, bool uefi, const char *const *paths, size_t path_count);
