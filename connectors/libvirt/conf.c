/* SPDX-License-Identifier: Apache-2.0 */
/* The platform's URL and options. */
#include <libxml/uri.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/libvirt/session.h"
#include "connectors/option.h"

#define NBD_PORT_FIRST 10900
#define NBD_PORT_COUNT 100

/* "qemu:///system" and "qemu+unix://..." are this host; so is a host part of "localhost". */
static bool url_is_local(const char *url)
{
    const char *colon = strstr(url, "://");

    if (!colon)
        return false;
    const char *host = colon + 3;
    size_t length = strcspn(host, "/?");
    const char *at = memchr(host, '@', length);
    if (at) {
        length -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    if (length == 0)
        return true;
    return length >= 9 && strncmp(host, "localhost", 9) == 0 && (length == 9 || host[9] == ':');
}

/* The host part of the URL, without user and port. */
static char *url_host(const char *url)
{
    const char *host = strstr(url, "://");

    if (!host)
        return NULL;
    host += 3;
    size_t length = strcspn(host, "/?");
    const char *at = memchr(host, '@', length);
    if (at) {
        length -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    if (length > 0 && host[0] == '[')
        length = strcspn(host, "]") + 1;
    else
        length = strcspn(host, ":/?");
    return length > 0 ? strndup(host, length) : NULL;
}

static bool one_of(const char *text, const char *const *words)
{
    while (*words && strcasecmp(text, *words) != 0)
        words++;
    return *words != NULL;
}

/* Some of libvirt's parameters run programs (command, netcat) or switch verification off
 * (no_verify, known_hosts_verify): only those known to do neither are taken.  As libvirt reads
 * them: separated by
 * "&" or ";", names unescaped, in any case. */
static int check_parameters(const char *url, struct bf_error *err)
{
    static const char *const harmless[] = {"name",    "pkipath",      "socket",
                                           "mode",    "known_hosts",  "keyfile",
                                           "sshauth", "tls_priority", NULL};
    const char *query = strchr(url, '?');

    for (const char *at = query ? query + 1 : ""; *at && *at != '#';) {
        size_t length = strcspn(at, "&;#");
        bf_auto_free char *name = xmlURIUnescapeString(at, (int)strcspn(at, "=&;#"), NULL);

        if (length > 0 && (!name || !one_of(name, harmless)))
            return bf_fail(err, BF_E_BAD_INPUT, 0,
                           "url: parameter \"%s\" is not allowed; allowed are name, pkipath, "
                           "socket, mode, known_hosts, keyfile, sshauth, tls_priority",
                           name ? name : at);
        at += length + (at[length] == '&' || at[length] == ';');
    }
    return 0;
}

static int check_transport(const char *url, struct bf_error *err)
{
    static const char *const known[] = {"unix", "tls", "ssh", "libssh", "libssh2", "tcp", NULL};
    bf_auto_free char *transport = NULL;
    const char *plus = strchr(url, '+');

    if (!plus || plus > strstr(url, "://"))
        return 0;
    transport = strndup(plus + 1, strcspn(plus + 1, ":"));
    if (one_of(transport, known))
        return 0;
    return bf_fail(err, BF_E_BAD_INPUT, 0,
                   "url: transport \"%s\" is not allowed; use unix, tls, ssh, libssh or tcp",
                   transport);
}

static int check_url(const char *url, struct bf_error *err)
{
    static const char *const known[] = {"qemu:", "qemu+", "test:", NULL};
    const char *password = strstr(url, "://");

    if (!password)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "url \"%s\": expected a libvirt URI such as qemu:///system or "
                       "qemu+tls://HOST/system",
                       url);
    size_t length = strcspn(password + 3, "/?");
    const char *at = memchr(password + 3, '@', length);
    if (at && memchr(password + 3, ':', (size_t)(at - password - 3)))
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "url: a password does not belong there; give it as the platform's password");
    for (size_t i = 0; known[i]; i++) {
        if (bf_starts_with(url, known[i]))
            return check_transport(url, err) < 0 ? -1 : check_parameters(url, err);
    }
    return bf_fail(err, BF_E_BAD_INPUT, 0, "url \"%s\": only libvirt's QEMU driver is supported",
                   url);
}

static int parse_accel(const char *text, enum bf_libvirt_accel *ret_accel, struct bf_error *err)
{
    if (bf_streq(text, "auto"))
        *ret_accel = BF_LIBVIRT_ACCEL_AUTO;
    else if (bf_streq(text, "kvm"))
        *ret_accel = BF_LIBVIRT_ACCEL_KVM;
    else if (bf_streq(text, "qemu"))
        *ret_accel = BF_LIBVIRT_ACCEL_QEMU;
    else
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.accel: expected auto, kvm or qemu");
    return 0;
}

static int copy_directory(const char *name, const char *value, char **ret, struct bf_error *err)
{
    if (!value)
        return 0;
    if (value[0] != '/')
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.%s: expected an absolute path", name);
    *ret = bf_xstrdup(value);
    return 0;
}

static int parse_options(struct json_object *options, struct bf_libvirt_conf *conf,
                         struct bf_error *err)
{
    static const char *const known[] = {"scratch_directory",
                                        "socket_directory",
                                        "console_directory",
                                        "pool",
                                        "nbd_address",
                                        "nbd_port_first",
                                        "nbd_port_count",
                                        "nbd_tls",
                                        "tls_directory",
                                        "accel",
                                        NULL};
    const char *scratch = NULL, *sockets = NULL, *console = NULL, *pool = NULL;
    const char *address = NULL, *tls = NULL, *accel = "auto";

    conf->nbd_port_first = NBD_PORT_FIRST;
    conf->nbd_port_count = NBD_PORT_COUNT;
    if (bf_option_check_names(options, known, NULL, err) < 0 ||
        bf_json_opt_string(options, "options", "scratch_directory", &scratch, err) < 0 ||
        bf_json_opt_string(options, "options", "socket_directory", &sockets, err) < 0 ||
        bf_json_opt_string(options, "options", "console_directory", &console, err) < 0 ||
        bf_json_opt_string(options, "options", "pool", &pool, err) < 0 ||
        bf_json_opt_string(options, "options", "nbd_address", &address, err) < 0 ||
        bf_option_u64(options, "nbd_port_first", 1, 65535, &conf->nbd_port_first, err) < 0 ||
        bf_option_u64(options, "nbd_port_count", 1, 65535, &conf->nbd_port_count, err) < 0 ||
        bf_option_bool(options, "nbd_tls", &conf->nbd_tls, err) < 0 ||
        bf_json_opt_string(options, "options", "tls_directory", &tls, err) < 0 ||
        bf_json_opt_string(options, "options", "accel", &accel, err) < 0)
        return -1;
    if (parse_accel(accel, &conf->accel, err) < 0 ||
        copy_directory("scratch_directory", scratch, &conf->scratch_directory, err) < 0 ||
        copy_directory("socket_directory", sockets, &conf->socket_directory, err) < 0 ||
        copy_directory("console_directory", console, &conf->console_directory, err) < 0 ||
        copy_directory("tls_directory", tls, &conf->tls_directory, err) < 0)
        return -1;
    if (conf->nbd_port_first + conf->nbd_port_count > 65536)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options.nbd_port_first, nbd_port_count: not a range of TCP ports");
    conf->pool = bf_xstrdup(pool);
    conf->nbd_address = bf_xstrdup(address);
    return 0;
}

static int parse(const struct bf_platform_conf *conf, struct bf_libvirt_conf *out,
                 struct bf_error *err)
{
    bf_auto_json *none = json_object_new_object();

    if (check_url(conf->url, err) < 0)
        return -1;
    out->url = bf_xstrdup(conf->url);
    out->user = bf_xstrdup(conf->user);
    out->password = bf_secret_copy(conf->password);
    out->work_directory = bf_xstrdup(conf->work_directory);
    out->local = url_is_local(conf->url);
    if (parse_options(conf->options ? conf->options : none, out, err) < 0)
        return -1;
    if (!out->nbd_address && !out->local)
        out->nbd_address = url_host(conf->url);
    return 0;
}

int bf_libvirt_conf_parse(const struct bf_platform_conf *conf, struct bf_libvirt_conf *ret_conf,
                          struct bf_error *err)
{
    struct bf_libvirt_conf out = {0};

    if (parse(conf, &out, err) < 0) {
        bf_libvirt_conf_done(&out);
        return -1;
    }
    *ret_conf = out;
    return 0;
}

int bf_libvirt_check_options(struct json_object *options, struct bf_error *err)
{
    struct bf_libvirt_conf conf = {0};
    int rc = parse_options(options, &conf, err);

    bf_libvirt_conf_done(&conf);
    return rc;
}

void bf_libvirt_conf_done(struct bf_libvirt_conf *conf)
{
    free(conf->url);
    free(conf->user);
    bf_secret_free(conf->password);
    free(conf->work_directory);
    free(conf->scratch_directory);
    free(conf->socket_directory);
    free(conf->console_directory);
    free(conf->pool);
    free(conf->nbd_address);
    free(conf->tls_directory);
    *conf = (struct bf_libvirt_conf){0};
}
