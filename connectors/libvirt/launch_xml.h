/* SPDX-License-Identifier: Apache-2.0 */
/* The domain XML of a launched machine, from the seam's description.  Pure. */
#pragma once

#include "connectors/target.h"

struct bf_libvirt_launch_xml {
    const struct bf_launch_request *request;
    const char *const *disk_paths; /* of the clones, in the request's order */
    const char *console_path;
    const char *loader_path; /* with nvram_path: the firmware's code, and the variables it gets; */
    const char *nvram_path;  /* both NULL: libvirt chooses, and makes new variables */
    const char *companion_path; /* NULL: none */
    bool kvm;
    bool direct;      /* the clones' file system takes O_DIRECT */
    const char *name; /* made safe for libvirt */
};
char *bf_libvirt_launch_xml(const struct bf_libvirt_launch_xml *launch);
/* libvirt takes any UTF-8 but "/" and control characters.  Caller frees. */
char *bf_libvirt_domain_name(const char *name);
