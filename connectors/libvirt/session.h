/* SPDX-License-Identifier: Apache-2.0 */
/* One libvirt connection: opened when needed, ended at deadlines, errors translated.
 *
 * An operation of the seam begins with bf_libvirt_begin(), which connects (again, if
 * libvirtd was restarted meanwhile) and sets the time until which all libvirt calls that follow
 * must have returned; it ends with bf_libvirt_end(), which the attribute bf_libvirt_op does.
 * At the deadline, and when the platform is cancelled, the socket is shut down: the call in
 * progress returns with an error, and the next operation connects anew.  A dead or stopped
 * libvirtd is found by keepalive as well.
 */
#pragma once

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>

#include "base/secret.h"
#include "connectors/ops.h"

enum bf_libvirt_accel { BF_LIBVIRT_ACCEL_AUTO = 0, BF_LIBVIRT_ACCEL_KVM, BF_LIBVIRT_ACCEL_QEMU };

/* The platform's options; docs/platforms/libvirt.md lists them. */
struct bf_libvirt_conf {
    char *url;
    char *user;
    struct bf_secret *password;
    char *work_directory;
    bool local;              /* the URI names this host */
    char *scratch_directory; /* NULL: beside each disk's image */
    char *socket_directory;  /* NULL: work_directory */
    char *console_directory; /* NULL: the pool's directory */
    char *pool;              /* default storage; NULL: "default" */
    char *nbd_address;       /* remote: where QEMU listens and we connect; NULL: the URI's host */
    uint64_t nbd_port_first; /* remote: ports for backup jobs */
    uint64_t nbd_port_count;
    bool nbd_tls;
    char *tls_directory; /* client certificates for nbd_tls */
    enum bf_libvirt_accel accel;
};
int bf_libvirt_conf_parse(const struct bf_platform_conf *conf, struct bf_libvirt_conf *ret_conf,
                          struct bf_error *err);
/* Without its URL; see ops.h. */
int bf_libvirt_check_options(struct json_object *options, struct bf_error *err);
void bf_libvirt_conf_done(struct bf_libvirt_conf *conf);

struct bf_libvirt {
    struct bf_platform base;
    struct bf_libvirt_conf conf;
    virConnectPtr conn; /* NULL: not connected */
    char *domcaps;      /* domain capabilities, asked once; NULL: not yet */
    unsigned serial;    /* makes names of sockets unique within this handle */
    virErrorPtr reason; /* see bf_libvirt_fail() */
    /* Under a lock of session.c's, as an alarm and cancel touch them: */
    struct bf_libvirt *next_live;
    int socket_fd; /* a dup of the connection's; -1: unknown */
    int alarm_id;  /* 0: none */
    bool timed_out;
};

static inline struct bf_libvirt *bf_libvirt_of(struct bf_platform *platform)
{
    return (struct bf_libvirt *)platform;
}

int bf_libvirt_open(const struct bf_platform_conf *conf, struct bf_platform **ret_platform,
                    struct bf_error *err);
void bf_libvirt_close(struct bf_platform *platform);
void bf_libvirt_cancel(struct bf_platform *platform);

/* Most operations need far less; a busy host may need it. */
#define BF_LIBVIRT_CALL_MS 60000

/* Called again within an operation it sets a new deadline. */
int bf_libvirt_begin(struct bf_libvirt *lv, uint64_t ms, struct bf_error *err)
    __attribute__((warn_unused_result));
void bf_libvirt_end(struct bf_libvirt *lv);
static inline void bf_libvirt_end_at(struct bf_libvirt **at)
{
    if (*at)
        bf_libvirt_end(*at);
}
#define bf_libvirt_op __attribute__((cleanup(bf_libvirt_end_at))) struct bf_libvirt

/* Set err from libvirt's error of this thread, and return -1.  Its code is translated; what has no
 * translation becomes `otherwise`. */
#define bf_libvirt_fail(lv, ...)                                                                   \
    (bf_libvirt_keep_reason(lv), bf_libvirt_fail_for_reason((lv), __VA_ARGS__))
/* The reason is kept first: the arguments often call libvirt, and even virDomainGetName()
 * makes it forget its last error. */
void bf_libvirt_keep_reason(struct bf_libvirt *lv);
int bf_libvirt_fail_for_reason(struct bf_libvirt *lv, struct bf_error *err,
                               enum bf_error_code otherwise, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Fails if the operation was cancelled, timed out, or lost its connection: for calls whose own
 * failure is no trouble otherwise. */
int bf_libvirt_check(struct bf_libvirt *lv, struct bf_error *err);
/* libvirt's code of the last error in this thread; 0: none. */
int bf_libvirt_last(void);
const char *bf_libvirt_last_text(void);

/* Scope-bound references. */
#define BF_LIBVIRT_AUTO(type, name)                                                                \
    static inline void bf_vir_##name##_free_at(vir##type##Ptr *at)                                 \
    {                                                                                              \
        if (*at)                                                                                   \
            vir##type##Free(*at);                                                                  \
    }
BF_LIBVIRT_AUTO(Domain, domain)
BF_LIBVIRT_AUTO(DomainCheckpoint, checkpoint)
BF_LIBVIRT_AUTO(StoragePool, pool)
BF_LIBVIRT_AUTO(StorageVol, vol)
BF_LIBVIRT_AUTO(Network, network)
#define bf_auto_vir(name) __attribute__((cleanup(bf_vir_##name##_free_at)))
