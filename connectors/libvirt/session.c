/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/libvirt/events.h"

/* A stopped libvirtd is given up after KEEPALIVE_COUNT unanswered messages. */
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT 3
#define OPEN_MS 30000

/* Guards the last members of every handle, and the list of them: an alarm that is just
 * firing while its handle is closed must not find freed memory. */
static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;
static struct bf_libvirt *live;

/* --- errors --- */

int bf_libvirt_last(void)
{
    virErrorPtr error = virGetLastError();

    return error ? error->code : 0;
}

const char *bf_libvirt_last_text(void)
{
    virErrorPtr error = virGetLastError();

    return error && error->message ? error->message : "libvirt gave no reason";
}

static const struct {
    int vir;
    enum bf_error_code code;
} translation[] = {
    {VIR_ERR_NO_DOMAIN, BF_E_NO_SUCH_MACHINE},
    {VIR_ERR_NO_STORAGE_POOL, BF_E_NO_SUCH_STORAGE},
    {VIR_ERR_NO_STORAGE_VOL, BF_E_VOLUME_GONE},
    {VIR_ERR_NO_NETWORK, BF_E_NO_SUCH_NETWORK},
    {VIR_ERR_NO_DOMAIN_CHECKPOINT, BF_E_BASELINE_LOST},
    {VIR_ERR_CHECKPOINT_INCONSISTENT, BF_E_BASELINE_LOST},
    {VIR_ERR_AUTH_FAILED, BF_E_PLATFORM_AUTH},
    {VIR_ERR_AUTH_CANCELLED, BF_E_PLATFORM_AUTH},
    {VIR_ERR_AUTH_UNAVAILABLE, BF_E_PLATFORM_AUTH},
    {VIR_ERR_ACCESS_DENIED, BF_E_PLATFORM_PRIVILEGE},
    {VIR_ERR_OPERATION_DENIED, BF_E_PLATFORM_PRIVILEGE},
    {VIR_ERR_RPC, BF_E_PLATFORM_UNREACHABLE},
    {VIR_ERR_NO_CONNECT, BF_E_PLATFORM_UNREACHABLE},
    {VIR_ERR_INVALID_CONN, BF_E_PLATFORM_UNREACHABLE},
    {VIR_ERR_GNUTLS_ERROR, BF_E_TLS},
    {VIR_ERR_OPERATION_TIMEOUT, BF_E_BUSY},
    {VIR_ERR_RESOURCE_BUSY, BF_E_IN_USE},
    {VIR_ERR_NO_SUPPORT, BF_E_PLATFORM_UNSUPPORTED},
    {VIR_ERR_CONFIG_UNSUPPORTED, BF_E_PLATFORM_UNSUPPORTED},
    {VIR_ERR_AGENT_UNRESPONSIVE, BF_E_QUIESCE_FAILED},
};

static enum bf_error_code translate(const virError *error, enum bf_error_code otherwise)
{
    if (!error)
        return otherwise;
    /* The storage driver passes on what mkfs, qemu-img or the kernel said. */
    if (error->message && (strstr(error->message, "No space left on device") ||
                           strstr(error->message, "Disk quota exceeded")))
        return BF_E_TARGET_FULL;
    /* One code for a password that is wrong and a server that is not who it should be. */
    if (error->code == VIR_ERR_AUTH_FAILED && error->message &&
        strstr(error->message, "certificate"))
        return BF_E_TLS;
    for (size_t i = 0; i < bf_array_length(translation); i++) {
        if (translation[i].vir == error->code)
            return translation[i].code;
    }
    return otherwise;
}

static void set_error(struct bf_error *err, const virError *error, enum bf_error_code otherwise,
                      const char *what)
{
    bf_fail(err, translate(error, otherwise), 0, "%s: %s", what,
            error && error->message ? error->message : "libvirt gave no reason");
    if (error && error->message) {
        bf_auto_free char *evidence = bf_xasprintf("libvirt error %d, domain %d: %s", error->code,
                                                   error->domain, error->message);
        bf_error_evidence(err, evidence);
    }
}

void bf_libvirt_keep_reason(struct bf_libvirt *lv)
{
    if (lv->reason)
        virFreeError(lv->reason);
    lv->reason = virSaveLastError();
}

int bf_libvirt_fail_for_reason(struct bf_libvirt *lv, struct bf_error *err,
                               enum bf_error_code otherwise, const char *format, ...)
{
    const virError *reason = lv->reason;
    bf_auto_free char *what = NULL;
    va_list args;

    va_start(args, format);
    what = bf_xvasprintf(format, args);
    va_end(args);
    if (bf_platform_check_cancel(&lv->base, err) < 0)
        return bf_fail_in(err, "%s", what);
    pthread_mutex_lock(&live_lock);
    bool timed_out = lv->timed_out;
    pthread_mutex_unlock(&live_lock);
    if (timed_out)
        return bf_fail(err, BF_E_DEADLINE, 0, "%s: libvirt at %s did not answer in time", what,
                       lv->conf.url);
    if (lv->conn && virConnectIsAlive(lv->conn) != 1)
        bf_fail(err, BF_E_PLATFORM_UNREACHABLE, 0, "%s: the connection to libvirt broke: %s", what,
                reason && reason->message ? reason->message : "no reason given");
    else
        set_error(err, reason, otherwise, what);
    return -1;
}

int bf_libvirt_check(struct bf_libvirt *lv, struct bf_error *err)
{
    if (virConnectIsAlive(lv->conn) == 1)
        return bf_platform_check_cancel(&lv->base, err);
    return bf_libvirt_fail(lv, err, BF_E_PLATFORM_UNREACHABLE, "%s", lv->conf.url);
}

/* --- opening, in a thread of its own ---
 *
 * virConnectOpenAuth() blocks in connect(), in the TLS handshake, in ssh, with no limit.  It runs
 * in a thread that is left behind when it takes too long; whoever comes last frees the struct. */

struct opening {
    char *url;
    char *user;
    struct bf_secret *password;
    int done_fd; /* eventfd: the thread has finished */
    pthread_mutex_t lock;
    /* under lock: */
    bool done;
    bool abandoned;
    int socket_fd;
    virConnectPtr conn;
    struct bf_error error;
};

static void opening_free(struct opening *opening)
{
    if (opening->conn)
        virConnectClose(opening->conn);
    if (opening->socket_fd >= 0)
        close(opening->socket_fd);
    close(opening->done_fd);
    free(opening->url);
    free(opening->user);
    bf_secret_free(opening->password);
    bf_error_clear(&opening->error);
    pthread_mutex_destroy(&opening->lock);
    free(opening);
}

static int answer(virConnectCredentialPtr credentials, unsigned count, void *user)
{
    const struct opening *opening = user;

    for (unsigned i = 0; i < count; i++) {
        const char *text = NULL;
        if (credentials[i].type == VIR_CRED_AUTHNAME || credentials[i].type == VIR_CRED_USERNAME)
            text = opening->user;
        else if (credentials[i].type == VIR_CRED_PASSPHRASE ||
                 credentials[i].type == VIR_CRED_NOECHOPROMPT)
            text = opening->password ? bf_secret_text(opening->password) : NULL;
        if (!text)
            return -1;
        credentials[i].result = bf_xstrdup(text);
        credentials[i].resultlen = (unsigned)strlen(text);
    }
    return 0;
}

static void note_fd(int fd, void *user)
{
    struct opening *opening = user;
    int type;
    socklen_t length = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
        return;
    pthread_mutex_lock(&opening->lock);
    if (opening->socket_fd < 0)
        opening->socket_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    pthread_mutex_unlock(&opening->lock);
}

static void *open_thread(void *user)
{
    struct opening *opening = user;
    int types[] = {VIR_CRED_AUTHNAME, VIR_CRED_USERNAME, VIR_CRED_PASSPHRASE,
                   VIR_CRED_NOECHOPROMPT};
    virConnectAuth auth = {
        .credtype = types, .ncredtype = bf_array_length(types), .cb = answer, .cbdata = opening};
    uint64_t one = 1;

    bf_libvirt_events_watch(note_fd, opening);
    virConnectPtr conn = virConnectOpenAuth(opening->url, &auth, 0);
    bf_libvirt_events_watch(NULL, NULL);
    if (conn)
        /* Not every transport can; then the deadlines alone remain. */
        (void)virConnectSetKeepAlive(conn, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT);

    pthread_mutex_lock(&opening->lock);
    opening->conn = conn;
    if (!conn)
        set_error(&opening->error, virGetLastError(), BF_E_PLATFORM_UNREACHABLE, opening->url);
    opening->done = true;
    bool abandoned = opening->abandoned;
    if (!abandoned)
        (void)!write(opening->done_fd, &one, sizeof(one));
    pthread_mutex_unlock(&opening->lock);
    if (abandoned)
        opening_free(opening);
    return NULL;
}

static struct opening *opening_start(struct bf_libvirt *lv, struct bf_error *err)
{
    pthread_t thread;
    pthread_attr_t attr;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0) {
        bf_fail(err, BF_E_SYSTEM, errno, "eventfd");
        return NULL;
    }
    struct opening *opening = bf_xcalloc(1, sizeof(*opening));
    opening->url = bf_xstrdup(lv->conf.url);
    opening->user = bf_xstrdup(lv->conf.user);
    opening->password = bf_secret_copy(lv->conf.password);
    opening->done_fd = fd;
    opening->socket_fd = -1;
    pthread_mutex_init(&opening->lock, NULL);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &attr, open_thread, opening);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        opening_free(opening);
        bf_fail(err, BF_E_SYSTEM, rc, "cannot start a thread");
        return NULL;
    }
    return opening;
}

/* Wait for the thread; on failure it is left behind, with its socket shut so that it ends soon. */
static int opening_wait(struct bf_libvirt *lv, struct opening *opening, struct bf_error *err)
{
    struct bf_deadline deadline = bf_deadline_in(OPEN_MS);
    struct pollfd pfds[2] = {
        {.fd = opening->done_fd, .events = POLLIN},
        {.fd = bf_platform_cancel_fd(&lv->base), .events = POLLIN},
    };

    while (!pfds[0].revents && !pfds[1].revents && !bf_deadline_passed(deadline))
        (void)poll(pfds, 2, bf_deadline_left(deadline));
    pthread_mutex_lock(&opening->lock);
    bool done = opening->done;
    if (!done) {
        opening->abandoned = true;
        if (opening->socket_fd >= 0)
            shutdown(opening->socket_fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&opening->lock);
    if (done)
        return 0;
    if (bf_platform_check_cancel(&lv->base, err) < 0)
        return -1;
    return bf_fail(err, BF_E_PLATFORM_UNREACHABLE, 0, "%s: no answer within %d s", lv->conf.url,
                   OPEN_MS / 1000);
}

static int connect_now(struct bf_libvirt *lv, struct bf_error *err)
{
    struct opening *opening = opening_start(lv, err);

    if (!opening || opening_wait(lv, opening, err) < 0)
        return -1;
    if (!opening->conn) {
        bf_error_move(err, &opening->error);
        opening_free(opening);
        return -1;
    }
    lv->conn = bf_steal(opening->conn);
    pthread_mutex_lock(&live_lock);
    lv->socket_fd = bf_steal_fd(opening->socket_fd);
    pthread_mutex_unlock(&live_lock);
    opening_free(opening);
    return 0;
}

static void disconnect(struct bf_libvirt *lv)
{
    pthread_mutex_lock(&live_lock);
    if (lv->socket_fd >= 0)
        close(lv->socket_fd);
    lv->socket_fd = -1;
    pthread_mutex_unlock(&live_lock);
    if (lv->conn)
        virConnectClose(lv->conn);
    lv->conn = NULL;
}

/* --- operations --- */

static void on_alarm(int id, void *user)
{
    pthread_mutex_lock(&live_lock);
    for (struct bf_libvirt *lv = live; lv; lv = lv->next_live) {
        if (lv == user && lv->alarm_id == id) {
            lv->timed_out = true;
            if (lv->socket_fd >= 0)
                shutdown(lv->socket_fd, SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&live_lock);
}

void bf_libvirt_end(struct bf_libvirt *lv)
{
    pthread_mutex_lock(&live_lock);
    int alarm_id = lv->alarm_id;
    lv->alarm_id = 0;
    pthread_mutex_unlock(&live_lock);
    if (alarm_id)
        bf_libvirt_alarm_remove(alarm_id);
}

int bf_libvirt_begin(struct bf_libvirt *lv, uint64_t ms, struct bf_error *err)
{
    bf_libvirt_end(lv);
    if (bf_platform_check_cancel(&lv->base, err) < 0)
        return -1;
    pthread_mutex_lock(&live_lock);
    bool timed_out = lv->timed_out;
    pthread_mutex_unlock(&live_lock);
    if (lv->conn && (timed_out || virConnectIsAlive(lv->conn) != 1))
        disconnect(lv);
    if (!lv->conn && connect_now(lv, err) < 0)
        return -1;
    /* A cancel that came before the new socket was known has shut nothing down. */
    if (bf_platform_check_cancel(&lv->base, err) < 0)
        return -1;
    virResetLastError();
    pthread_mutex_lock(&live_lock);
    lv->timed_out = false;
    lv->alarm_id = bf_libvirt_alarm_set(ms, on_alarm, lv);
    pthread_mutex_unlock(&live_lock);
    return 0;
}

void bf_libvirt_cancel(struct bf_platform *platform)
{
    struct bf_libvirt *lv = bf_libvirt_of(platform);

    pthread_mutex_lock(&live_lock);
    if (lv->socket_fd >= 0)
        shutdown(lv->socket_fd, SHUT_RDWR);
    pthread_mutex_unlock(&live_lock);
}

int bf_libvirt_open(const struct bf_platform_conf *conf, struct bf_platform **ret_platform,
                    struct bf_error *err)
{
    struct bf_libvirt_conf parsed;

    if (bf_libvirt_conf_parse(conf, &parsed, err) < 0)
        return -1;
    bf_libvirt_events_start();
    struct bf_libvirt *lv = bf_xcalloc(1, sizeof(*lv));
    lv->conf = parsed;
    lv->socket_fd = -1;
    lv->base.cancel_fd = -1;
    pthread_mutex_lock(&live_lock);
    lv->next_live = live;
    live = lv;
    pthread_mutex_unlock(&live_lock);
    if (bf_libvirt_begin(lv, BF_LIBVIRT_CALL_MS, err) < 0) {
        bf_libvirt_close(&lv->base);
        return -1;
    }
    bf_libvirt_end(lv);
    *ret_platform = &lv->base;
    return 0;
}

void bf_libvirt_close(struct bf_platform *platform)
{
    struct bf_libvirt *lv = bf_libvirt_of(platform);

    bf_libvirt_end(lv);
    disconnect(lv);
    pthread_mutex_lock(&live_lock);
    for (struct bf_libvirt **at = &live; *at; at = &(*at)->next_live) {
        if (*at == lv) {
            *at = lv->next_live;
            break;
        }
    }
    pthread_mutex_unlock(&live_lock);
    bf_libvirt_conf_done(&lv->conf);
    free(lv->domcaps);
    if (lv->reason)
        virFreeError(lv->reason);
    free(lv);
}
