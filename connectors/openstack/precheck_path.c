/* SPDX-License-Identifier: Apache-2.0 */
/* Which way the replica's bytes go, and what that way needs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/mover.h"
#include "connectors/openstack/precheck.h"

/* What this service needs of its own host to reach volumes off RBD. */
static void check_reach(struct bf_cloud_check *check, enum bf_severity severity)
{
    const struct bf_cloud_conf *conf = &check->cloud->conf;

    if (conf->instance) {
        if (access(conf->devices, R_OK | X_OK) < 0)
            bf_cloud_found(
                check, severity, "openstack-devices", conf->devices, strerror(errno),
                "a directory that this service can read",
                "attached volumes are found there by their serials",
                "correct option devices, and let the service's user read and write the disks");
        return;
    }
    bf_auto_free char *key = bf_xasprintf("%s/client-key.pem", conf->mover_certificates);
    if (access(key, R_OK) < 0)
        bf_cloud_found(check, severity, "openstack-mover-certificates", key, strerror(errno),
                       "a file this service can read", "the mover knows this service by it",
                       "correct option mover_certificates");
}

/* A conversion has all disks of a machine attached at once. */
static void check_slots(struct bf_cloud_check *check, enum bf_severity severity)
{
    unsigned slots = check->cloud->conf.mover_slots;

    if (check->disks <= slots)
        return;
    bf_auto_free char *found = bf_xasprintf("%u", slots);
    bf_auto_free char *needed = bf_xasprintf("%llu", (unsigned long long)check->disks);
    bf_cloud_found(
        check, severity, "openstack-mover-slots", NULL, found, needed,
        "all disks of a launch are attached for its conversion",
        "raise mover_slots, if the server takes so many disks, or set conversion to none");
}

static void check_points(struct bf_cloud_check *check)
{
    uint64_t keep = bf_cloud_number(check->mapping, "keep_points");

    if (keep <= 1)
        return;
    bf_auto_free char *found = bf_xasprintf("keep_points %llu", (unsigned long long)keep);
    bf_cloud_found(
        check, check->off_rbd ? BF_SEVERITY_WARN : BF_SEVERITY_INFO, "openstack-points", NULL,
        found, "keep_points 1 with NFS and the like",
        "where Cinder keeps snapshots as a chain of files, only a volume's oldest point can be "
        "launched: a drill of a newer one fails, a cutover removes the older ones",
        "set policy keep_points to 1");
}

int bf_cloud_check_path(struct bf_cloud_check *check, struct bf_error *err)
{
    bf_auto_free char *status = NULL;
    const char *server = bf_cloud_mover_server(check->cloud);
    bool local = check->cloud->conf.instance != NULL;
    enum bf_severity severity = check->off_rbd ? BF_SEVERITY_BLOCK : BF_SEVERITY_WARN;

    if (check->on_rbd || !server) {
        bf_cloud_found(
            check, BF_SEVERITY_INFO, "openstack-write-path", NULL, "rbd", "rbd",
            "the replica is written into its RBD image by librbd, without a helper machine",
            "nothing");
        return 0;
    }
    bf_auto_free char *path = bf_xasprintf("%s%s", local ? "local" : "mover",
                                           check->off_rbd ? "" : ", or rbd where Cinder says so");
    bf_cloud_found(
        check, BF_SEVERITY_INFO, "openstack-write-path", NULL, path, "rbd, local or mover",
        local ? "the replica's volume is attached to the server that this service runs on"
              : "the replica is written over TLS through a mover that its volume is attached to",
        "nothing");
    if (bf_cloud_mover_status(check->cloud, &status, err) < 0)
        return -1;
    if (!bf_streq(status, "ACTIVE"))
        bf_cloud_found(check, severity, "openstack-mover", server,
                       status[0] ? status : "no such server", "ACTIVE",
                       "volumes off RBD are written through it",
                       local ? "correct option instance" : "start it, or correct option mover");
    check_reach(check, severity);
    check_slots(check, severity);
    check_points(check);
    return 0;
}
