/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/conf.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/option.h"
#include "connectors/vmware/other_plugin.h"

#define NFC_PER_HOST 4
#define NFC_IN_ALL 16
#define NFC_WAIT_S 3600
#define COUNT_MAX 1000
#define MOVER_SLOTS 30
#define MOVER_SLOTS_MAX 45 /* 15 on each of three controllers */

/* https://HOST[:PORT][/][sdk], and nothing else: what follows is ours to choose. */
static int parse_url(const char *url, struct bf_vmware_conf *conf, struct bf_error *err)
{
    const char *host = url + strlen("https://");
    size_t authority, length;

    if (!bf_starts_with(url, "https://"))
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "url: expected https://HOST of a vCenter or an ESXi");
    authority = strcspn(host, "/?#");
    if (memchr(host, '@', authority))
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "url: user and password do not belong there; give them as the platform's");
    if (host[authority] && !bf_streq(host + authority, "/") &&
        !bf_streq(host + authority, "/sdk") && !bf_streq(host + authority, "/sdk/"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "url: expected no path after the host");
    length = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
    if (length == 0 || length > authority)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "url: no host in it");
    conf->port = 443;
    if (length < authority) {
        bf_auto_free char *port = strndup(host + length + 1, authority - length - 1);

        if (host[length] != ':' || !port || bf_parse_u64(port, &conf->port, err) < 0 ||
            conf->port < 1 || conf->port > 65535) {
            bf_error_clear(err);
            return bf_fail(err, BF_E_BAD_INPUT, 0, "url: not a port after the host");
        }
    }
    conf->origin = bf_xasprintf("https://%.*s", (int)authority, host);
    conf->host = host[0] == '[' ? bf_xasprintf("%.*s", (int)length - 2, host + 1)
                                : bf_xasprintf("%.*s", (int)length, host);
    return 0;
}

static int parse_path(const char *text, enum bf_vmware_path *ret_path, struct bf_error *err)
{
    if (bf_streq(text, "auto"))
        *ret_path = BF_VMWARE_PATH_AUTO;
    else if (bf_streq(text, "vddk"))
        *ret_path = BF_VMWARE_PATH_VDDK;
    else if (bf_streq(text, "plugin"))
        *ret_path = BF_VMWARE_PATH_PLUGIN;
    else if (bf_streq(text, "mover"))
        *ret_path = BF_VMWARE_PATH_MOVER;
    else if (bf_streq(text, "datastore"))
        *ret_path = BF_VMWARE_PATH_DATASTORE;
    else if (bf_streq(text, "export"))
        *ret_path = BF_VMWARE_PATH_EXPORT;
    else
        return bf_fail(
            err, BF_E_BAD_INPUT, 0,
            "options.read_path: expected auto, vddk, plugin, mover, datastore or export");
    return 0;
}

static int copy_path(const char *name, const char *value, char **ret, struct bf_error *err)
{
    if (!value)
        return 0;
    if (value[0] != '/')
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.%s: expected an absolute path", name);
    *ret = bf_xstrdup(value);
    return 0;
}

static int parse_limits(struct json_object *options, struct bf_vmware_conf *conf,
                        struct bf_error *err)
{
    const char *wait = NULL, *task = NULL;

    conf->nfc_per_host = NFC_PER_HOST;
    conf->nfc_in_all = NFC_IN_ALL;
    conf->nfc_wait_s = NFC_WAIT_S;
    /* At least one, or no disk could ever be read. */
    if (bf_option_u64(options, "nfc_per_host", 1, COUNT_MAX, &conf->nfc_per_host, err) < 0 ||
        bf_option_u64(options, "nfc_in_all", 1, COUNT_MAX, &conf->nfc_in_all, err) < 0 ||
        bf_json_opt_string(options, "options", "nfc_wait", &wait, err) < 0 ||
        bf_json_opt_string(options, "options", "task_wait", &task, err) < 0)
        return -1;
    if (wait && bf_parse_duration(wait, &conf->nfc_wait_s, err) < 0)
        return bf_fail_in(err, "options.nfc_wait");
    if (task && bf_parse_duration(task, &conf->task_wait_s, err) < 0)
        return bf_fail_in(err, "options.task_wait");
    if (task && conf->task_wait_s == 0)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.task_wait: expected a second or more");
    return 0;
}

static int parse_plugin(struct json_object *options, struct bf_vmware_conf *conf,
                        struct bf_error *err)
{
    const char *plugin = NULL, *parameters = NULL;

    if (bf_json_opt_string(options, "options", "plugin", &plugin, err) < 0 ||
        bf_json_opt_string(options, "options", "plugin_parameters", &parameters, err) < 0)
        return -1;
    if (!plugin && parameters)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options.plugin_parameters: there is no options.plugin");
    if (!plugin && conf->path == BF_VMWARE_PATH_PLUGIN)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options.read_path: plugin, but there is no options.plugin");
    if (!plugin)
        return 0;
    if (!parameters)
        parameters = bf_vmware_plugin_default(plugin);
    if (bf_vmware_plugin_check(plugin, parameters, err) < 0)
        return -1;
    conf->plugin = bf_xstrdup(plugin);
    conf->plugin_parameters = bf_xstrdup(parameters);
    return 0;
}

#define CLONE_FOLDER "_clone_folder"
static const char *const mover_suffixes[] = {CLONE_FOLDER, NULL};

/* A folder of the first mover's is that of the others, too, unless they have their own. */
static int parse_movers(struct json_object *options, struct bf_vmware_conf *conf,
                        struct bf_error *err)
{
    const char *first = NULL;

    if (bf_mover_options_parse(options, MOVER_SLOTS, MOVER_SLOTS_MAX, &conf->movers, err) < 0)
        return -1;
    if (conf->movers.count == 0 && conf->path == BF_VMWARE_PATH_MOVER)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options.read_path: mover, but there is no options.mover");
    for (size_t i = 0; i < conf->movers.count; i++) {
        const char *folder = NULL;

        if (bf_mover_option_text(options, conf->movers.list[i].number, CLONE_FOLDER, &folder, err) <
            0)
            return -1;
        if (i == 0)
            first = folder;
        conf->clone_folders[i] = bf_xstrdup(folder ? folder : first);
    }
    return 0;
}

/* Upper-case hex with colons, as VDDK compares it. */
static int parse_thumbprint(const char *text, char **ret, struct bf_error *err)
{
    size_t length = text ? strlen(text) : 0;

    if (!text)
        return 0;
    if (length != 20 * 3 - 1 || strspn(text, "0123456789abcdefABCDEF:") != length)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options.thumbprint: expected the certificate's SHA-1 as AA:BB:...");
    *ret = bf_xstrdup(text);
    for (char *at = *ret; *at; at++)
        if (*at >= 'a' && *at <= 'f')
            *at = (char)(*at - 'a' + 'A');
    return 0;
}

static const char *const known[] = {
    "ca_file",        "fingerprint",  "thumbprint",        "library_directory",
    "library_config", "transports",   "scratch_directory", "read_path",
    "trust_cbt",      "nfc_per_host", "nfc_in_all",        "nfc_wait",
    "task_wait",      "plugin",       "plugin_parameters", NULL};

static int parse_options(struct json_object *options, struct bf_vmware_conf *conf,
                         struct bf_error *err)
{
    const char *ca = NULL, *pin = NULL, *thumb = NULL, *library = NULL, *config = NULL;
    const char *transports = "nbdssl", *scratch = NULL, *path = "auto", *trust = "yes";

    if (bf_option_check_names(options, known, mover_suffixes, err) < 0 ||
        bf_json_opt_string(options, "options", "ca_file", &ca, err) < 0 ||
        bf_json_opt_string(options, "options", "fingerprint", &pin, err) < 0 ||
        bf_json_opt_string(options, "options", "thumbprint", &thumb, err) < 0 ||
        bf_json_opt_string(options, "options", "library_directory", &library, err) < 0 ||
        bf_json_opt_string(options, "options", "library_config", &config, err) < 0 ||
        bf_json_opt_string(options, "options", "transports", &transports, err) < 0 ||
        bf_json_opt_string(options, "options", "scratch_directory", &scratch, err) < 0 ||
        bf_json_opt_string(options, "options", "read_path", &path, err) < 0 ||
        bf_json_opt_string(options, "options", "trust_cbt", &trust, err) < 0)
        return -1;
    if (copy_path("ca_file", ca, &conf->ca_file, err) < 0 ||
        copy_path("library_directory", library, &conf->library_directory, err) < 0 ||
        copy_path("library_config", config, &conf->library_config, err) < 0 ||
        copy_path("scratch_directory", scratch, &conf->scratch_directory, err) < 0 ||
        parse_path(path, &conf->path, err) < 0 ||
        parse_thumbprint(thumb, &conf->thumbprint, err) < 0 ||
        parse_limits(options, conf, err) < 0 || parse_plugin(options, conf, err) < 0 ||
        parse_movers(options, conf, err) < 0)
        return -1;
    if (!bf_streq(trust, "yes") && !bf_streq(trust, "no"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.trust_cbt: expected yes or no");
    conf->trust_cbt = bf_streq(trust, "yes");
    conf->fingerprint = bf_xstrdup(pin);
    conf->transports = bf_xstrdup(transports);
    return 0;
}

static int parse(const struct bf_platform_conf *conf, struct bf_vmware_conf *out,
                 struct bf_error *err)
{
    bf_auto_json *none = json_object_new_object();

    if (parse_url(conf->url, out, err) < 0 ||
        parse_options(conf->options ? conf->options : none, out, err) < 0)
        return -1;
    if (!conf->user || !conf->password)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "a vCenter or ESXi needs a user and a password");
    out->user = bf_xstrdup(conf->user);
    out->password = bf_secret_copy(conf->password);
    out->work_directory = bf_xstrdup(conf->work_directory);
    if (!out->scratch_directory)
        out->scratch_directory = bf_xstrdup(conf->work_directory);
    return 0;
}

int bf_vmware_conf_parse(const struct bf_platform_conf *conf, struct bf_vmware_conf *ret_conf,
                         struct bf_error *err)
{
    struct bf_vmware_conf out = {0};

    if (parse(conf, &out, err) < 0) {
        bf_vmware_conf_done(&out);
        return -1;
    }
    *ret_conf = out;
    return 0;
}

int bf_vmware_check_options(struct json_object *options, struct bf_error *err)
{
    struct bf_vmware_conf conf = {0};
    int rc = parse_options(options, &conf, err);

    bf_vmware_conf_done(&conf);
    return rc;
}

void bf_vmware_conf_done(struct bf_vmware_conf *conf)
{
    free(conf->origin);
    free(conf->host);
    free(conf->user);
    bf_secret_free(conf->password);
    free(conf->work_directory);
    free(conf->ca_file);
    free(conf->fingerprint);
    free(conf->thumbprint);
    free(conf->library_directory);
    free(conf->library_config);
    free(conf->transports);
    free(conf->plugin);
    free(conf->plugin_parameters);
    free(conf->scratch_directory);
    bf_mover_options_done(&conf->movers);
    for (size_t i = 0; i < BF_MOVERS_MAX; i++)
        free(conf->clone_folders[i]);
    *conf = (struct bf_vmware_conf){0};
}
