/* SPDX-License-Identifier: Apache-2.0 */
/* What a connector implements; docs/adding-a-connector.md is its guide.
 *
 * Only connector.c, source.c and target.c call through these tables.  They have checked the
 * arguments, the tag's form and that the call was not cancelled; they assert that failure and a set
 * error come together and that outputs are set on success.  The comment of each operation is at its
 * front function in connector.h, source.h and target.h; here is only what differs.
 *
 * "Optional" members may be NULL: the front then does what is said beside them.
 */
#pragma once

#include <stdatomic.h>

#include "connectors/source.h"
#include "connectors/target.h"

struct bf_source_ops {
    /* Required. */
    int (*precheck)(struct bf_platform *platform, const struct bf_machine *machine,
                    struct bf_findings *findings, struct bf_error *err);
    int (*snapshot)(struct bf_platform *platform, const struct bf_snapshot_request *request,
                    struct bf_snapshot **ret_snapshot, struct bf_error *err);
    int (*open_disk)(struct bf_platform *platform, const char *snapshot_ref, const char *key,
                     struct bf_source_disk **ret_disk, struct bf_error *err);
    /* Frees the connector's part and the handle itself; the front has freed the spec. */
    void (*close_disk)(struct bf_source_disk *disk);
    int (*release)(struct bf_platform *platform, const char *machine_id, const char *snapshot_ref,
                   struct bf_error *err);
    int (*release_tag)(struct bf_platform *platform, const char *machine_id, const char *tag,
                       struct bf_error *err);
    /* Optional: nothing to do. */
    int (*prepare)(struct bf_platform *platform, const char *machine_id, struct bf_error *err);
    int (*drop_baseline)(struct bf_platform *platform, const char *machine_id, const char *baseline,
                         struct bf_error *err);
    /* Optional: what is read cannot outlive its snapshot. */
    int (*check_snapshot)(struct bf_platform *platform, const char *snapshot_ref,
                          struct bf_error *err);
    /* Optional: the variables cannot be had.  Not called for machines with a BIOS. */
    int (*firmware_vars)(struct bf_platform *platform, const struct bf_machine *machine,
                         char **ret_data, size_t *ret_size, char **ret_note, struct bf_error *err);
    /* Optional: no disk can be adopted. */
    int (*locate_disk)(struct bf_platform *platform, const char *machine_id, const char *key,
                       char **ret_place, struct bf_error *err);
};

struct bf_target_ops {
    /* Required. */
    int (*precheck)(struct bf_platform *platform, const struct bf_machine *machine,
                    struct json_object *mapping, struct bf_findings *findings,
                    struct bf_error *err);
    int (*create_volume)(struct bf_platform *platform, const struct bf_volume_request *request,
                         char **ret_ref, struct bf_error *err);
    int (*resize_volume)(struct bf_platform *platform, const char *volume_ref, uint64_t size_bytes,
                         char **ret_ref, struct bf_error *err);
    int (*delete_volume)(struct bf_platform *platform, const char *volume_ref,
                         struct bf_error *err);
    int (*open_volume)(struct bf_platform *platform, const char *volume_ref, const char *tag,
                       bool full, const char *last_point, struct bf_target_volume **ret_volume,
                       struct bf_error *err);
    /* Frees the connector's part and the handle, also on failure; the front frees the spec. */
    int (*close_volume)(struct bf_target_volume *volume, struct bf_error *err);
    int (*drop_round)(struct bf_platform *platform, const char *volume_ref, const char *tag,
                      struct bf_error *err);
    int (*make_point)(struct bf_platform *platform, const char *volume_ref, const char *tag,
                      char **ret_point_ref, struct bf_error *err);
    int (*delete_point)(struct bf_platform *platform, const char *volume_ref, const char *point_ref,
                        struct bf_error *err);
    int (*open_point)(struct bf_platform *platform, const char *volume_ref, const char *point_ref,
                      struct bf_target_volume **ret_volume, struct bf_error *err);
    int (*clone_point)(struct bf_platform *platform, const char *volume_ref, const char *point_ref,
                       const char *tag, char **ret_clone_ref, struct bf_error *err);
    int (*open_clone)(struct bf_platform *platform, const char *clone_ref,
                      struct bf_target_volume **ret_volume, struct bf_error *err);
    int (*delete_clone)(struct bf_platform *platform, const char *clone_ref, struct bf_error *err);
    int (*create_machine)(struct bf_platform *platform, const struct bf_launch_request *request,
                          char **ret_machine_ref, struct bf_error *err);
    int (*machine_id)(struct bf_platform *platform, const char *machine_ref, char **ret_id,
                      struct bf_error *err);
    int (*delete_machine)(struct bf_platform *platform, const char *machine_ref,
                          struct bf_error *err);
    /* Optional: clones are independent from the start. */
    int (*detach_clone)(struct bf_platform *platform, const char *machine_ref,
                        const char *clone_ref, struct bf_deadline deadline, struct bf_error *err);
    /* Optional: there is no text console, the text is NULL. */
    int (*console)(struct bf_platform *platform, const char *machine_ref, size_t max,
                   char **ret_text, struct bf_error *err);
    /* Optional: no agent can be asked, the answer is NULL. */
    int (*guest_agent)(struct bf_platform *platform, const char *machine_ref, char **ret_answer,
                       struct bf_error *err);
    /* Optional: machines start with the firmware's own variables. */
    int (*takes_firmware_vars)(struct bf_platform *platform, const struct bf_machine *machine,
                               size_t size, char **ret_why, struct bf_error *err);
    bool takes_companion; /* create_machine() knows it; false: it is refused before */
    /* Optional, all three or none: nothing can be adopted. */
    int (*adopt_precheck)(struct bf_platform *platform, const struct bf_adopt_request *request,
                          struct bf_findings *findings, struct bf_error *err);
    int (*adopt_volume)(struct bf_platform *platform, const struct bf_adopt_request *request,
                        char **ret_ref, struct bf_error *err);
    int (*give_back_volume)(struct bf_platform *platform, const char *tag, const char *place,
                            struct bf_error *err);
    /* Optional, both: nothing to clean. */
    int (*hand_over_volume)(struct bf_platform *platform, const char *volume_ref,
                            struct bf_error *err);
    int (*hand_over_machine)(struct bf_platform *platform, const char *machine_ref,
                             struct bf_error *err);
};

struct bf_connector_ops {
    const char *type; /* "libvirt": in the API, the store, the log */
    /* Required.  `conf` and what it points to may go away after open. */
    int (*open)(const struct bf_platform_conf *conf, struct bf_platform **ret_platform,
                struct bf_error *err);
    /* Optional: all are taken until open.  Of options that may be an empty object, never NULL. */
    int (*check_options)(struct json_object *options, struct bf_error *err);
    void (*close)(struct bf_platform *platform); /* frees the handle */
    int (*info)(struct bf_platform *platform, struct bf_platform_info *ret_info,
                struct bf_error *err);
    int (*machines)(struct bf_platform *platform, bf_machine_fn *fn, void *user,
                    struct bf_error *err);
    int (*machine)(struct bf_platform *platform, const char *id_or_name,
                   struct bf_machine **ret_machine, struct bf_error *err);
    int (*resources)(struct bf_platform *platform, struct json_object **ret_resources,
                     struct bf_error *err);
    int (*power)(struct bf_platform *platform, const char *machine_id, enum bf_power *ret_power,
                 struct bf_error *err);
    int (*shut_down)(struct bf_platform *platform, const char *machine_id,
                     struct bf_deadline deadline, struct bf_error *err);
    int (*power_off)(struct bf_platform *platform, const char *machine_id, struct bf_error *err);
    int (*power_on)(struct bf_platform *platform, const char *machine_id, struct bf_error *err);
    int (*tagged)(struct bf_platform *platform, bf_tagged_fn *fn, void *user, struct bf_error *err);
    /* Optional: called from another thread after the flag and the descriptor were set, to end a
     * call that watches neither. */
    void (*cancel)(struct bf_platform *platform);
    const struct bf_source_ops *source; /* NULL: cannot be a source */
    const struct bf_target_ops *target; /* NULL: cannot be a target */
};

/* Embedded first in every connector's handle; filled by the front after `open`. */
struct bf_platform {
    const struct bf_connector_ops *ops;
    char *name;
    int cancel_fd; /* eventfd, readable while cancelled */
    atomic_bool cancelled;
    atomic_bool removing; /* the call in progress is a removal, which a cancel does not touch */
};

/* Embedded first in the handles of open disks and volumes; the connector fills both members. */
struct bf_source_disk {
    struct bf_platform *platform;
    struct bf_endpoint_spec spec;
};
struct bf_target_volume {
    struct bf_platform *platform;
    struct bf_endpoint_spec spec;
};

/* For connectors: is the call in progress to end? */
bool bf_platform_is_cancelled(struct bf_platform *platform);
/* -1 with BF_E_CANCELLED if so. */
int bf_platform_check_cancel(struct bf_platform *platform, struct bf_error *err);
/* For poll() and bf_process_*(): readable when the call is to end; -1 during a removal. */
int bf_platform_cancel_fd(struct bf_platform *platform);
/* Sleep, but not longer than until the deadline or a cancel (which fails). */
int bf_platform_pause(struct bf_platform *platform, uint64_t ms, struct bf_deadline deadline,
                      struct bf_error *err);

/* Tags in names: "bf-" and 16 hex digits. */
#define BF_TAG_LENGTH 19
bool bf_tag_valid(const char *text);
/* Does the text begin with a tag that ends there or is followed by something not alphanumeric?
 * The tag is copied. */
bool bf_tag_of(const char *text, char ret_tag[BF_TAG_LENGTH + 1]);

/* The registry's table, NULL-terminated. */
extern const struct bf_connector_ops *const bf_connectors[];
/* bf_platform_open() with the ops given; for tests of a connector that is not in the registry. */
int bf_platform_open_with(const struct bf_connector_ops *ops, const struct bf_platform_conf *conf,
                          struct bf_platform **ret_platform, struct bf_error *err);
