/* SPDX-License-Identifier: Apache-2.0 */
/* How large a machine's disks are.
 *
 * QEMU is asked only where nothing else knows.  Any question for its block nodes while it makes an
 * image for somebody (a backup job, a snapshot of another tool) ends it, and the machine: see
 * job_files.h.  An image on this host says it itself, and a list of thousands of machines then
 * costs no question to any of them.
 */
#pragma once

#include "connectors/libvirt/domain_xml.h"
#include "connectors/libvirt/session.h"

/* Blocking; what cannot be known stays 0.  A backup job that is just being made is waited for. */
void bf_libvirt_sizes(struct bf_libvirt *lv, virDomainPtr vir, struct bf_libvirt_domain *domain);
/* For lists: a machine that is busy is not waited for long. */
void bf_libvirt_sizes_quickly(struct bf_libvirt *lv, virDomainPtr vir,
                              struct bf_libvirt_domain *domain);
