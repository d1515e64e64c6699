/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/other_plugin.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/mover.h"
#include "connectors/vmware/serve.h"
#include "connectors/vmware/template.h"

#define START_MS 120000
#define WORDS_MAX 64
#define PASSWORD_FD "3"

/* In the order of enum below. */
static const char *const names[] = {
    "server",   "port", "user",        "vm",           "snapshot",          "file",
    "disk_key", "size", "thumbprint",  "transports",   "library_directory", "library_config",
    "ca_file",  "url",  "password_fd", "password_file"};

enum { VALUES = bf_array_length(names) };

static void name_values(struct bf_vmware_template_value values[VALUES])
{
    for (size_t i = 0; i < VALUES; i++)
        values[i] = (struct bf_vmware_template_value){.name = names[i]};
}

const char *bf_vmware_plugin_default(const char *plugin)
{
    /* nbdkit-vddk-plugin(1). */
    return bf_streq(plugin, "vddk")
               ? "libdir={library_directory} config={library_config} server={server} port={port} "
                 "user={user} password=-{password_fd} vm=moref={vm} snapshot={snapshot} "
                 "file={file} thumbprint={thumbprint} transports={transports}"
               : NULL;
}

int bf_vmware_plugin_check(const char *plugin, const char *parameters, struct bf_error *err)
{
    struct bf_vmware_template_value values[VALUES];
    size_t length = strlen(plugin);
    bool name = length && plugin[0] != '-' &&
                strspn(plugin, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;

    if (!name && plugin[0] != '/')
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options.plugin: expected the name of an nbdkit plugin, or its path");
    if (!parameters)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options.plugin_parameters: the plugin %s needs them", plugin);
    name_values(values);
    if (bf_vmware_template_check(parameters, values, VALUES, err) < 0)
        return bf_fail_in(err, "options.plugin_parameters");
    return 0;
}

/* nbdkit tells what is missing, and a plugin what was refused, by their texts only. */
static int say_why(struct bf_vmware *vw, struct bf_error *err)
{
    const char *tail = err->evidence ? err->evidence : "";

    if (strstr(tail, "cannot open plugin"))
        bf_error_recode(err, BF_E_CHILD_MISSING);
    else if (strstr(tail, "password") || strstr(tail, "login") || strstr(tail, "ertificate"))
        bf_error_recode(err, BF_E_PLATFORM_AUTH);
    return bf_fail_in(err, "nbdkit with the plugin %s could not open the disk", vw->conf.plugin);
}

/* It opens the disk for its first client only. */
static int probe(struct bf_vmware *vw, const struct bf_vmware_ref_disk *disk,
                 struct bf_server *server, struct bf_error *err)
{
    bf_auto_free char *uri = bf_xstrdup(bf_server_uri(server));
    struct bf_endpoint_spec spec = {.uri = uri, .size_bytes = disk->size_bytes};

    if (bf_mover_probe_once(&vw->base, &spec, err) == 0)
        return 0;
    if (err->code != BF_E_CANCELLED && err->code != BF_E_DISK_CHANGED) {
        bf_error_recode(err, BF_E_CHILD_FAILED);
        bf_error_evidence(err, bf_server_tail(server));
    }
    return -1;
}

static int start(struct bf_vmware *vw, char **words, int password_fd, const char *socket_path,
                 struct bf_server **ret_server, struct bf_error *err)
{
    const struct bf_vmware_conf *conf = &vw->conf;
    bf_auto_free char *path =
        conf->library_directory ? bf_xasprintf("LD_LIBRARY_PATH=%s/lib64", conf->library_directory)
                                : NULL;
    const char *argv[WORDS_MAX + 8] = {"nbdkit", "--foreground", "--readonly", "--exit-with-parent",
                                       "--unix", socket_path,    conf->plugin};
    const char *env[] = {path, NULL};
    struct bf_server_spec spec = {.argv = argv,
                                  .env = env,
                                  .pass_fds = &password_fd,
                                  .pass_fd_count = 1,
                                  .socket_path = socket_path,
                                  .start_ms = START_MS};

    for (size_t i = 0; words[i]; i++) {
        if (i == WORDS_MAX)
            return bf_fail(err, BF_E_BAD_INPUT, 0,
                           "options.plugin_parameters: more than %d of them", WORDS_MAX);
        argv[7 + i] = words[i];
    }
    return bf_server_start(&vw->base, &spec, ret_server, err);
}

int bf_vmware_plugin_serve(struct bf_vmware *vw, const struct bf_vmware_moment *moment,
                           const struct bf_vmware_ref_disk *disk, const char *socket_path,
                           struct bf_server **ret_server, struct bf_error *err)
{
    const struct bf_vmware_conf *conf = &vw->conf;
    struct bf_vmware_template_value values[VALUES];
    struct bf_server *server = NULL;
    bf_auto_fd int fd = -1;

    if (bf_vmware_thumbprint(vw, err) < 0 ||
        bf_vmware_secret_fd(bf_secret_text(conf->password), &fd, err) < 0)
        return -1;
    bf_auto_free char *port = bf_xasprintf("%llu", (unsigned long long)conf->port);
    bf_auto_free char *size = bf_xasprintf("%llu", (unsigned long long)disk->size_bytes);
    const char *texts[VALUES] = {conf->host,
                                 port,
                                 conf->user,
                                 moment->machine,
                                 moment->snapshot,
                                 disk->file,
                                 disk->key,
                                 size,
                                 conf->thumbprint,
                                 conf->transports,
                                 conf->library_directory,
                                 conf->library_config,
                                 conf->ca_file,
                                 conf->origin,
                                 PASSWORD_FD,
                                 "/proc/self/fd/" PASSWORD_FD};
    name_values(values);
    for (size_t i = 0; i < VALUES; i++)
        values[i].value = texts[i];
    char **words = bf_vmware_template_fill(conf->plugin_parameters, values, VALUES);
    int rc = start(vw, words, fd, socket_path, &server, err);
    bf_vmware_template_free(words);
    if (rc < 0)
        return err->code == BF_E_CHILD_FAILED ? say_why(vw, err) : -1;
    if (probe(vw, disk, server, err) < 0) {
        bf_auto_error ignored = BF_ERROR_INIT;

        (void)bf_server_stop(server, BF_VMWARE_STOP_MS, &ignored);
        return say_why(vw, err);
    }
    *ret_server = server;
    return 0;
}
