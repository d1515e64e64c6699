/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion: make a guest boot on the target's virtual hardware.
 *
 * Works on the clones of one launch, never on the replica.  All disks of the guest are
 * given in the machine's order.  A conversion that failed or was killed leaves
 * the clones in an undefined state: the caller throws them away and clones anew.
 * A guest must not be converted twice; the caller remembers that it was.
 *
 * Blocking: minutes; ends soon after cancel_fd becomes readable, and at the deadline.
 *           A deadline that passed is BF_E_GUEST_TIMEOUT.
 * Isolation: the guest's file systems are parsed only inside libguestfs's appliance, in a
 * child process without secrets of any platform.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/error.h"
#include "connectors/endpoint_spec.h"

enum bf_convert_mode {
    BF_CONVERT_AUTO = 0, /* fast; if the guest is none for it, v2v */
    BF_CONVERT_FAST,     /* our own: Linux for x86-64, seconds */
    BF_CONVERT_V2V,      /* virt-v2v-in-place */
    BF_CONVERT_NONE,     /* the guest boots as it is */
    BF_CONVERT_WINDOWS,  /* our own: Windows for x86-64; not proven on a real Windows yet */
    BF_CONVERT_MODE_MAX,
};

struct bf_convert_request {
    enum bf_convert_mode mode;
    const struct bf_endpoint_spec *const *disks; /* file of raw or qcow2, or an NBD URI */
    size_t disk_count;
    const char *name; /* of the machine, for logs */
    bool uefi;
    /* The machine's MAC addresses in its order ("52:54:00:12:34:56"), so that an interface keeps
     * its name or its addresses; NULL with 0: names are left alone.  Used by our own ways. */
    const char *const *macs;
    size_t mac_count;
    const char *virtio_win; /* directory or ISO with Windows drivers; NULL: the default places */
    /* Only the fast way knows these; another one warns (bf_convert_unmet()).  The last partition of
     * each disk and what it holds grow to the disk's size; kernels also write to the first serial
     * line.  A plan must have been made with the same wishes. */
    bool grow, serial_console;
    /* What an inspection of this guest found (plan.h), borrowed; NULL: none.  Mode auto follows its
     * method, and the fast way opens the guest by it. */
    struct json_object *plan;
    /* Exists, private, for mount points and sockets; best at most 65 bytes long (a longer one has
     * sockets made in /tmp, where a killed conversion leaves empty directories). */
    const char *work_directory;
    /* Kept between conversions: the appliance (700 MiB) and whether KVM works.  Below the state
     * directory, made when missing; one for all conversions, also parallel ones.  NULL: the
     * appliance goes to libguestfs's own place, /var/tmp, and KVM is tried every time. */
    const char *cache_directory;
    struct bf_deadline deadline;
    int cancel_fd; /* -1: none */
    /* Called with a line of progress for people; may be NULL. */
    void (*progress)(const char *line, void *user);
    void *user;
};

struct bf_convert_report {
    char *method; /* "none", "fast", "v2v", "windows" */
    /* Texts are cleaned and bounded, so that they may be shown. */
    char *guest_os;               /* "Debian GNU/Linux 12"; NULL unknown */
    bool planned;                 /* the plan stood in for an inspection */
    bool virtio;                  /* virtio drivers are in place, by evidence */
    char *log_tail;               /* last lines of the tool */
    struct json_object *warnings; /* array of texts */
    double seconds;
};

int bf_convert_run(const struct bf_convert_request *request, struct bf_convert_report *ret_report,
                   struct bf_error *err);
void bf_convert_report_done(struct bf_convert_report *report);

/* The plan says that the guest needs nothing, and the mode leaves it to the plan: the report
 * without any disk being opened.  False: it has to be converted. */
bool bf_convert_is_needless(enum bf_convert_mode mode, struct json_object *plan,
                            struct bf_convert_report *ret_report);

/* What the request asks for and this method ("v2v", ...) does not do, as a sentence; NULL: it does
 * all. */
const char *bf_convert_unmet(const struct bf_convert_request *request, const char *method);

/* For inspect.c.  What both need of a request; BF_E_BAD_INPUT. */
int bf_convert_check_request(const struct bf_convert_request *request, struct bf_error *err);
/* A deadline that passed in a guest's disks is an error of its own: they may never answer. */
void bf_convert_time_is_over(struct bf_error *err);

/* After a crash: detach the mounts which killed conversions left below the directory, so that it
 * can be removed. */
void bf_convert_sweep(const char *work_directory);

const char *bf_convert_mode_to_string(enum bf_convert_mode mode);
int bf_convert_mode_from_string(const char *text, enum bf_convert_mode *ret_mode,
                                struct bf_error *err);
