/* SPDX-License-Identifier: Apache-2.0 */
/* For connectors: disks by way of a mover (docs/mover.md), where the platform has no other way to
 * their bytes.  "Attach this disk, tell me its endpoint, detach it."
 *
 * What a connector gives is three calls of its platform (struct bf_mover_ops); what it gets is:
 *
 *   slots     a mover holds so many disks at a time.  Who comes when it is full waits, first come
 *             first served, until its deadline or a cancel.  What counts as attached is what the
 *             platform lists, so disks that a crash or another service left there count, too.
 *   one lock  attach and detach of one mover never overlap, of all handles and threads of this
 *             process (platforms fail on that): callers wait for each other as above.
 *   identity  the disk is served under the name that its platform's listing says, and with the size
 *             that was asked for, before anybody is given the endpoint.
 *
 * Ledger: an attachment has no row of its own.  It exists for something that has one: the layer of
 * a round on a volume, a snapshot at the source, a clone.  It carries that row's tag, which
 * `attach` must put where `list` finds it again, even after a crash of this service: in the
 * attachment's or the disk's metadata, or in the device's name.  So nothing leaks, by two rules for
 * the connector:
 *
 * One: whatever removes the thing of a tag (release_tag, release, drop_round, delete_clone, ...)
 * calls bf_mover_detach_tag() first; that is what the service does with every row that it finds
 * open after a crash.
 *
 * Two: `tagged` names what bf_mover_list() shows, with the kind of the row it belongs to, so that
 * an attachment whose row was closed is reported like any other leftover.  That is not needed
 * where the disk itself is a thing of ours that `tagged` names, such as a replica's volume.
 *
 * A disk without one of our tags was attached by somebody else and is never detached.
 *
 * Threads: any; each with its own platform handle.  Nothing is locked while the platform is called
 * (who is at work is a flag).  Blocking: as the seam's calls.
 */
#pragma once

#include "connectors/endpoint_spec.h"
#include "connectors/ops.h"

struct bf_mover_disk {
    const char *attachment;  /* what `detach` takes */
    const char *disk;        /* the platform's id of it */
    const char *tag;         /* NULL: somebody else's */
    const char *export_name; /* the mover's name for it: the id the guest sees, cleaned */
};
/* Non-zero ends the listing with success. */
typedef int bf_mover_disk_fn(const struct bf_mover_disk *disk, void *user);

struct bf_mover_ops {
    /* Attach a disk, which is not there; returns when the platform says it is done.  The mover's
     * machine never gets more than it needs: read only where the platform can say so. */
    int (*attach)(struct bf_platform *platform, const char *mover, const char *disk,
                  const char *tag, bool writable, struct bf_error *err);
    /* Gone already is success.  The disk itself stays. */
    int (*detach)(struct bf_platform *platform, const char *mover, const char *attachment,
                  struct bf_error *err);
    /* All disks but the mover's own. */
    int (*list)(struct bf_platform *platform, const char *mover, bf_mover_disk_fn *fn, void *user,
                struct bf_error *err);
    /* Is it served, with this size?  NULL: bf_mover_probe(), which is right but for tests. */
    int (*probe)(struct bf_platform *platform, const struct bf_endpoint_spec *spec,
                 struct bf_deadline deadline, struct bf_error *err);
};

struct bf_mover_conf {
    const struct bf_mover_ops *ops;
    const char *id;            /* its machine on the platform; one lock and queue for each id */
    const char *devices;       /* it is the machine that this service runs on: a directory in which
                                  udev names disks by their serials; no address then */
    const char *address;       /* HOST or HOST:PORT, as its certificate says; IPv6 in brackets */
    const char *tls_directory; /* the certificates that were made with its image */
    unsigned slots;
    bool writable;      /* built for targets */
    uint64_t served_ms; /* from attached to served; 0: 30 s */
};

struct bf_mover_request {
    const char *disk;    /* the platform's id of it */
    const char *tag;     /* of the ledger row that the attachment belongs to */
    uint64_t size_bytes; /* what it must have; 0: unknown */
    bool writable;       /* the mover must be, too: BF_E_BAD_INPUT */
    bool holding;        /* the caller has disks attached: it does not wait for a slot, nor behind
                            those who do, but is told BF_E_MOVER_FULL at once.  Two who each hold
                            some and wait for more would wait for ever. */
};

/* Attach the disk and fill the endpoint (URI or device, certificates, size; freed by
 * bf_endpoint_spec_done()). The same disk and tag again: what the first call made.  All slots in
 * use until the deadline: BF_E_MOVER_FULL.  Attached for somebody else: BF_E_IN_USE.  Attached but
 * not served, or with another size: detached, and BF_E_MOVER_NOT_SERVING. */
int bf_mover_attach(struct bf_platform *platform, const struct bf_mover_conf *conf,
                    const struct bf_mover_request *request, struct bf_deadline deadline,
                    struct bf_endpoint_spec *ret_spec, struct bf_error *err);
/* The same at any of several movers that reach the disk: the one that has it already for this tag,
 * else one with a free slot, the least used first.  While all are full the request waits at each of
 * them and takes what is free first.  *ret_index: which it was. */
int bf_mover_attach_any(struct bf_platform *platform, const struct bf_mover_conf *confs,
                        size_t count, const struct bf_mover_request *request,
                        struct bf_deadline deadline, size_t *ret_index,
                        struct bf_endpoint_spec *ret_spec, struct bf_error *err);
/* Detach this disk if it is attached for this tag. */
int bf_mover_detach(struct bf_platform *platform, const struct bf_mover_conf *conf,
                    const char *disk, const char *tag, struct bf_error *err);
/* Detach all disks of this tag. */
int bf_mover_detach_tag(struct bf_platform *platform, const struct bf_mover_conf *conf,
                        const char *tag, struct bf_error *err);
/* All attached disks that carry a tag of ours. */
int bf_mover_list(struct bf_platform *platform, const struct bf_mover_conf *conf,
                  bf_mover_disk_fn *fn, void *user, struct bf_error *err);

/* Ask the server for the disk, by blockferry-copy, until it is served or the deadline has passed.
 */
int bf_mover_probe(struct bf_platform *platform, const struct bf_endpoint_spec *spec,
                   struct bf_deadline deadline, struct bf_error *err);
/* One try, at any NBD server.  Another size than the spec says: BF_E_DISK_CHANGED. */
int bf_mover_probe_once(struct bf_platform *platform, const struct bf_endpoint_spec *spec,
                        struct bf_error *err);
/* Does the mover take the certificates, and is it the one that they were made with?  It is asked
 * for an export that is not there.  BF_E_TLS: no. */
int bf_mover_greet(struct bf_platform *platform, const struct bf_mover_conf *conf,
                   struct bf_error *err);
/* The name that a mover gives to a disk of this id (mover/serve.c does the same).  Caller frees;
 * NULL: it has none. */
char *bf_mover_export_name(const char *id);

/* How many wait for a slot or the lock; for reports. */
unsigned bf_mover_waiting(const char *id);
