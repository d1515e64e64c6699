/* SPDX-License-Identifier: Apache-2.0 */
/* The platform's URL and options; docs/platforms/vmware.md lists them. */
#pragma once

#include "base/secret.h"
#include "connectors/connector.h"
#include "connectors/mover_option.h"

enum bf_vmware_path {
    BF_VMWARE_PATH_AUTO = 0,
    BF_VMWARE_PATH_VDDK,
    BF_VMWARE_PATH_PLUGIN,
    BF_VMWARE_PATH_MOVER,
    BF_VMWARE_PATH_DATASTORE,
    BF_VMWARE_PATH_EXPORT
};

struct bf_vmware_conf {
    char *origin; /* "https://vcenter.example.org:8443", without a path */
    char *host;   /* of it, without brackets */
    uint64_t port;
    char *user;
    struct bf_secret *password;
    char *work_directory;
    char *ca_file;           /* NULL: the system's */
    char *fingerprint;       /* base64 of the public key's SHA-256; NULL: by CA */
    char *thumbprint;        /* SHA-1 of the certificate, for VDDK; NULL: none */
    char *library_directory; /* where VDDK was unpacked; NULL: none */
    char *library_config;    /* VDDK's own configuration file; NULL: none */
    char *transports;        /* for VDDK */
    char *plugin;            /* an nbdkit plugin to read by; NULL: our own */
    char *plugin_parameters; /* its template (other_plugin.h) */
    char *scratch_directory; /* for exported disks */
    struct bf_mover_options movers;
    /* Of each of them: moref of the folder of linked clones; NULL: none are made. */
    char *clone_folders[BF_MOVERS_MAX];
    enum bf_vmware_path path;
    bool trust_cbt;
    uint64_t nfc_per_host, nfc_in_all; /* disks read at a time (admission.h) */
    uint64_t nfc_wait_s;
    uint64_t task_wait_s; /* for one task; 0: by its kind (task.h) */
};
int bf_vmware_conf_parse(const struct bf_platform_conf *conf, struct bf_vmware_conf *ret_conf,
                         struct bf_error *err);
/* Without its URL; see ops.h. */
int bf_vmware_check_options(struct json_object *options, struct bf_error *err);
void bf_vmware_conf_done(struct bf_vmware_conf *conf);
