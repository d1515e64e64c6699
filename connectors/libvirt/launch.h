/* SPDX-License-Identifier: Apache-2.0 */
/* Launched machines. */
#pragma once

#include "connectors/libvirt/machines.h"
#include "connectors/libvirt/storage.h"

/* May machines be of type kvm?  *ret_why: what is missing, for people; NULL if they may. */
int bf_libvirt_kvm(struct bf_libvirt *lv, const char *arch, bool *ret_kvm, char **ret_why,
                   struct bf_error *err);
/* Domain capabilities XML of this architecture; type "kvm" or "qemu". */
int bf_libvirt_domcaps(struct bf_libvirt *lv, const char *arch, const char *type, char **ret_xml,
                       struct bf_error *err);

int bf_libvirt_create_machine(struct bf_platform *platform, const struct bf_launch_request *request,
                              char **ret_machine_ref, struct bf_error *err);
int bf_libvirt_machine_id(struct bf_platform *platform, const char *machine_ref, char **ret_id,
                          struct bf_error *err);
int bf_libvirt_console(struct bf_platform *platform, const char *machine_ref, size_t max,
                       char **ret_text, struct bf_error *err);
/* agent.c */
int bf_libvirt_guest_agent(struct bf_platform *platform, const char *machine_ref, char **ret_answer,
                           struct bf_error *err);
int bf_libvirt_delete_machine(struct bf_platform *platform, const char *machine_ref,
                              struct bf_error *err);
int bf_libvirt_hand_over_machine(struct bf_platform *platform, const char *machine_ref,
                                 struct bf_error *err);
int bf_libvirt_detach_clone(struct bf_platform *platform, const char *machine_ref,
                            const char *clone_ref, struct bf_deadline deadline,
                            struct bf_error *err);
/* Ref of a machine of ours, for the janitor. */
char *bf_libvirt_machine_ref(const struct bf_libvirt_domain *domain);
/* Of files of a machine that was never defined. */
char *bf_libvirt_machine_file_ref(const char *tag, enum bf_libvirt_file_kind kind,
                                  const char *path);
