/* SPDX-License-Identifier: Apache-2.0 */
/* The environment of a program that uses libguestfs.
 *
 * libguestfs is told all that it would else guess: the direct backend (no libvirt between),
 * emulation where KVM does not really work, where to keep its appliance, and where to put
 * temporary files.  Nothing of our own environment is passed on. */
#pragma once

#include "guest/convert.h"

#define BF_APPLIANCE_ENV_MAX 9

struct bf_appliance_env {
    char *texts[BF_APPLIANCE_ENV_MAX];
    const char *list[BF_APPLIANCE_ENV_MAX + 1];
    size_t count;
};

/* May boot a kernel to learn whether KVM works (kvm_probe.h). */
int bf_appliance_env_init(const struct bf_convert_request *request, const char *tmp_directory,
                          struct bf_appliance_env *ret_env, struct bf_error *err);
void bf_appliance_env_done(struct bf_appliance_env *env);
