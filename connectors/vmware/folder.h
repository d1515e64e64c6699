/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a disk's flat file from its datastore by HTTPS, of machines that are off.
 *
 *   GET https://SERVER/folder/DIRECTORY/FILE?dcPath=DATACENTER&dsName=DATASTORE
 *
 * serves files of a datastore, by ranges.  A running machine has its files locked, so this is for
 * machines that stay off.  The file of a snapshot's disk is not written any more, whoever switches
 * the machine on meanwhile: what was read of it stays right, only reading on may be refused.
 *
 * An nbdkit with a plugin of ours (folder-plugin/) asks for ranges as it is read.  Before it is
 * started the descriptor, the length of the flat file and one range are looked at here, where the
 * reason can be told.  It is given the session's cookie by a descriptor.
 */
#pragma once

#include "connectors/server.h"
#include "connectors/vmware/machine.h"

struct bf_vmware_folder_file {
    const char *file;      /* "[datastore] directory/name.vmdk" */
    const char *datastore; /* moref */
    uint64_t size_bytes;
};

/* The URL of the flat file, which was found to be there, of this length, and served by ranges.
 * Caller frees.  BF_E_PLATFORM_UNSUPPORTED: not that kind of disk or server;
 * BF_E_PLATFORM_PRIVILEGE: the account may not. */
int bf_vmware_folder_find(struct bf_vmware *vw, const struct bf_vmware_folder_file *file,
                          char **ret_url, struct bf_error *err);
/* Serve it.  A machine that is not off: BF_E_MACHINE_STATE. */
int bf_vmware_folder_serve(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                           const struct bf_vmware_folder_file *file, struct bf_server **ret_server,
                           struct bf_error *err);
/* Can all disks of a machine be read so?  As above. */
int bf_vmware_folder_check(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                           struct bf_error *err);
