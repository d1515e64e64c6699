/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/nbd_tls.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "nbd/gnutls_api.h"

/* A record is at most 16 KiB: what arrived of several is taken by one system call. */
#define INPUT_BYTES ((size_t)128 << 10)
#define PSK_FILE_MAX ((size_t)1 << 20)

struct bf_nbd_tls {
    gnutls_session_t session;
    gnutls_certificate_credentials_t certificates;
    gnutls_psk_client_credentials_t psk;
    int fd;
    size_t from, to; /* of `input`: received and not yet taken by GnuTLS */
    unsigned char input[INPUT_BYTES];
};

static int failed(int rc, const char *doing, struct bf_error *err)
{
    return bf_fail(err, BF_E_TLS, 0, "TLS: cannot %s: %s", doing, bf_gnutls.gnutls_strerror(rc));
}

/* --- below GnuTLS: the socket --- */

static ssize_t pull(gnutls_transport_ptr_t user, void *data, size_t length)
{
    struct bf_nbd_tls *tls = user;

    if (tls->from == tls->to) {
        ssize_t n = recv(tls->fd, tls->input, sizeof(tls->input), MSG_DONTWAIT);
        if (n <= 0) {
            if (n < 0)
                bf_gnutls.gnutls_transport_set_errno(tls->session, errno);
            return n;
        }
        tls->from = 0;
        tls->to = (size_t)n;
    }
    if (length > tls->to - tls->from)
        length = tls->to - tls->from;
    memcpy(data, tls->input + tls->from, length);
    tls->from += length;
    return (ssize_t)length;
}

static int pull_timeout(gnutls_transport_ptr_t user, unsigned ms)
{
    const struct bf_nbd_tls *tls = user;
    struct pollfd fd = {.fd = tls->fd, .events = POLLIN};

    (void)ms; /* nothing here waits */
    return tls->from < tls->to ? 1 : poll(&fd, 1, 0);
}

static ssize_t push(gnutls_transport_ptr_t user, const giovec_t *parts, int count)
{
    struct bf_nbd_tls *tls = user;
    struct msghdr message = {.msg_iovlen = (size_t)count};

    memcpy(&message.msg_iov, &parts, sizeof(parts)); /* giovec_t is struct iovec */
    ssize_t n = sendmsg(tls->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        bf_gnutls.gnutls_transport_set_errno(tls->session, errno);
    return n;
}

/* --- credentials --- */

static void wipe(char *secret, size_t length)
{
    explicit_bzero(secret, length);
    free(secret);
}

/* The user's key, in hex, from lines USER:HEX. */
static int find_key(const char *path, const char *user, char **ret_key, struct bf_error *err)
{
    char *text = NULL;
    size_t length = 0, name = strlen(user);
    int rc = 0;

    if (bf_file_read(path, PSK_FILE_MAX, &text, &length, err)) {
        bf_error_recode(err, BF_E_TLS);
        return bf_fail_in(err, "pre-shared keys");
    }
    char *line = text;
    while (*line && !(strncmp(line, user, name) == 0 && line[name] == ':')) {
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    if (*line) {
        line += name + 1;
        line[strcspn(line, "\r\n")] = '\0';
        *ret_key = bf_xstrdup(line);
    } else {
        rc = bf_fail(err, BF_E_TLS, 0, "\"%s\" has no key of \"%s\"", path, user);
    }
    wipe(text, length);
    return rc;
}

static int use_psk(struct bf_nbd_tls *tls, const struct bf_nbd_tls_params *params,
                   struct bf_error *err)
{
    const struct passwd *me = params->user ? NULL : getpwuid(geteuid());
    const char *user = params->user ? params->user : me ? me->pw_name : "nbd";
    char *key = NULL;

    if (find_key(params->psk_file, user, &key, err))
        return -1;
    gnutls_datum_t datum = {.data = (unsigned char *)key, .size = (unsigned)strlen(key)};
    int rc = bf_gnutls.gnutls_psk_allocate_client_credentials(&tls->psk);
    if (!rc)
        rc =
            bf_gnutls.gnutls_psk_set_client_credentials(tls->psk, user, &datum, GNUTLS_PSK_KEY_HEX);
    wipe(key, strlen(key));
    if (!rc)
        rc = bf_gnutls.gnutls_credentials_set(tls->session, GNUTLS_CRD_PSK, tls->psk);
    return rc < 0 ? failed(rc, "use the pre-shared key", err) : 0;
}

static bool is_there(const char *path)
{
    return bf_file_access(path, R_OK) == 0;
}

static int use_certificates(struct bf_nbd_tls *tls, const struct bf_nbd_tls_params *params,
                            struct bf_error *err)
{
    const char *directory = params->certificates;
    bf_auto_free char *ca = bf_xasprintf("%s/ca-cert.pem", directory);
    bf_auto_free char *crl = bf_xasprintf("%s/ca-crl.pem", directory);
    bf_auto_free char *mine = bf_xasprintf("%s/client-cert.pem", directory);
    bf_auto_free char *key = bf_xasprintf("%s/client-key.pem", directory);
    int rc = bf_gnutls.gnutls_certificate_allocate_credentials(&tls->certificates);

    if (rc < 0)
        return failed(rc, "begin", err);
    rc = bf_gnutls.gnutls_certificate_set_x509_trust_file(tls->certificates, ca,
                                                          GNUTLS_X509_FMT_PEM);
    if (rc <= 0) /* the number of authorities; without any nothing could be verified */
        return bf_fail(err, BF_E_TLS, 0, "no certificate authority in \"%s\": %s", ca,
                       rc ? bf_gnutls.gnutls_strerror(rc) : "it is empty");
    if (is_there(crl) && (rc = bf_gnutls.gnutls_certificate_set_x509_crl_file(
                              tls->certificates, crl, GNUTLS_X509_FMT_PEM)) < 0)
        return bf_fail(err, BF_E_TLS, 0, "cannot use \"%s\": %s", crl,
                       bf_gnutls.gnutls_strerror(rc));
    if (is_there(mine) && (rc = bf_gnutls.gnutls_certificate_set_x509_key_file(
                               tls->certificates, mine, key, GNUTLS_X509_FMT_PEM)) < 0)
        return bf_fail(err, BF_E_TLS, 0, "cannot use \"%s\" and its key: %s", mine,
                       bf_gnutls.gnutls_strerror(rc));
    rc = bf_gnutls.gnutls_credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE, tls->certificates);
    if (!rc)
        rc = bf_gnutls.gnutls_server_name_set(tls->session, GNUTLS_NAME_DNS, params->host,
                                              strlen(params->host));
    bf_gnutls.gnutls_session_set_verify_cert(tls->session, params->host, 0);
    return rc < 0 ? failed(rc, "use the certificates", err) : 0;
}

/* --- a session --- */

static int set_up(struct bf_nbd_tls *tls, const struct bf_nbd_tls_params *params,
                  struct bf_error *err)
{
    bool admins = getenv("GNUTLS_SYSTEM_PRIORITY_FILE") || is_there("/etc/gnutls/config");
    bf_auto_free char *priorities =
        bf_xasprintf("NORMAL%s%s", admins ? "" : ":-CHACHA20-POLY1305",
                     params->psk_file ? ":+ECDHE-PSK:+DHE-PSK:+PSK" : "");
    int rc = bf_gnutls.gnutls_init(&tls->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK);

    if (rc < 0)
        return failed(rc, "begin", err);
    rc = bf_gnutls.gnutls_priority_set_direct(tls->session, priorities, NULL);
    if (rc < 0)
        return failed(rc, "choose ciphers", err);
    bf_gnutls.gnutls_transport_set_ptr(tls->session, tls);
    bf_gnutls.gnutls_transport_set_pull_function(tls->session, pull);
    bf_gnutls.gnutls_transport_set_pull_timeout_function(tls->session, pull_timeout);
    bf_gnutls.gnutls_transport_set_vec_push_function(tls->session, push);
    if (params->psk_file)
        return use_psk(tls, params, err);
    if (!params->certificates || !params->host)
        return bf_fail(err, BF_E_TLS, 0, "--tls-certificates or --tls-psk is needed");
    return use_certificates(tls, params, err);
}

int bf_nbd_tls_new(const struct bf_nbd_tls_params *params, int fd, struct bf_nbd_tls **ret_tls,
                   struct bf_error *err)
{
    if (bf_gnutls_load(err))
        return bf_fail_in(err, "nbds");
    struct bf_nbd_tls *tls = bf_xcalloc(1, sizeof(*tls));
    tls->fd = fd;
    if (set_up(tls, params, err)) {
        bf_nbd_tls_free(tls);
        return -1;
    }
    *ret_tls = tls;
    return 0;
}

void bf_nbd_tls_free(struct bf_nbd_tls *tls)
{
    if (!tls)
        return;
    if (tls->session)
        bf_gnutls.gnutls_deinit(tls->session);
    if (tls->certificates)
        bf_gnutls.gnutls_certificate_free_credentials(tls->certificates);
    if (tls->psk)
        bf_gnutls.gnutls_psk_free_client_credentials(tls->psk);
    free(tls);
}

static bool not_now(int rc)
{
    return rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED;
}

int bf_nbd_tls_handshake(struct bf_nbd_tls *tls, struct bf_error *err)
{
    gnutls_datum_t why = {0};
    int rc;

    do
        rc = bf_gnutls.gnutls_handshake(tls->session);
    while (rc < 0 && !not_now(rc) && !bf_gnutls.gnutls_error_is_fatal(rc));
    if (rc >= 0)
        return 1;
    if (not_now(rc))
        return 0;
    if (rc == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR &&
        bf_gnutls.gnutls_certificate_verification_status_print(
            bf_gnutls.gnutls_session_get_verify_cert_status(tls->session), GNUTLS_CRT_X509, &why,
            0) == 0) {
        bf_fail(err, BF_E_TLS, 0, "TLS: the server is not who it should be: %s", why.data);
        free(why.data);
        return -1;
    }
    return failed(rc, "agree with the server", err);
}

bool bf_nbd_tls_wants_write(const struct bf_nbd_tls *tls)
{
    return bf_gnutls.gnutls_record_get_direction(tls->session) == 1;
}

void bf_nbd_tls_describe(const struct bf_nbd_tls *tls, char *ret_text, size_t size)
{
    snprintf(
        ret_text, size, "%s (%s)",
        bf_gnutls.gnutls_cipher_get_name(bf_gnutls.gnutls_cipher_get(tls->session)),
        bf_gnutls.gnutls_protocol_get_name(bf_gnutls.gnutls_protocol_get_version(tls->session)));
}

static ssize_t result_of(ssize_t rc, const char *doing, struct bf_error *err)
{
    if (rc >= 0)
        return rc;
    return not_now((int)rc) || !bf_gnutls.gnutls_error_is_fatal((int)rc)
               ? 0
               : failed((int)rc, doing, err);
}

ssize_t bf_nbd_tls_receive(struct bf_nbd_tls *tls, void *data, size_t length, struct bf_error *err)
{
    ssize_t rc = bf_gnutls.gnutls_record_recv(tls->session, data, length);

    if (rc == 0 || rc == GNUTLS_E_PREMATURE_TERMINATION)
        return bf_fail(err, BF_E_ENDPOINT_OPEN, 0, "the server closed the connection");
    return result_of(rc, "receive", err);
}

ssize_t bf_nbd_tls_send(struct bf_nbd_tls *tls, const void *data, size_t length,
                        struct bf_error *err)
{
    return result_of(bf_gnutls.gnutls_record_send(tls->session, data, length), "send", err);
}

void bf_nbd_tls_bye(struct bf_nbd_tls *tls)
{
    (void)bf_gnutls.gnutls_bye(tls->session, GNUTLS_SHUT_WR);
}
