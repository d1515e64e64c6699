/* SPDX-License-Identifier: Apache-2.0 */
/* The platform's URL and options, from the API or from a clouds.yaml. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cloud.h"
#include "connectors/option.h"

#define CLOUD_URL "cloud:"
/* What PCI slots Nova's default machine has left. */
#define DEFAULT_MOVER_SLOTS 20
#define MOVER_SLOTS_MAX 60
#define DEFAULT_CLOUDS_YAML "/etc/openstack/clouds.yaml"
#define DEFAULT_DEVICES "/dev/disk/by-id"

/* --- texts: one table for options and for clouds.yaml --- */

enum place { LOGIN = 1, CLOUD = 2, OURS = 4 }; /* where the name may stand */

struct text_option {
    const char *name;
    unsigned place;
    size_t offset;
};

#define AT(member) offsetof(struct bf_cloud_conf, member)
/* clang-format off */
static const struct text_option texts[] = {
    {"user_id", LOGIN, AT(user_id)},
    {"user_domain_name", LOGIN, AT(user_domain_name)},
    {"user_domain_id", LOGIN, AT(user_domain_id)},
    {"project_name", LOGIN, AT(project_name)},
    {"project_id", LOGIN, AT(project_id)},
    {"project_domain_name", LOGIN, AT(project_domain_name)},
    {"project_domain_id", LOGIN, AT(project_domain_id)},
    {"application_credential_id", LOGIN, AT(application_credential_id)},
    {"region_name", CLOUD, AT(region_name)},
    {"interface", CLOUD, AT(interface)},
    {"cacert", CLOUD, AT(cacert)},
    {"pin_sha256", OURS, AT(pin_sha256)},
    {"host", OURS, AT(host)},
    {"volume_type", OURS, AT(volume_type)},
    {"availability_zone", OURS, AT(availability_zone)},
    {"flavor", OURS, AT(flavor)},
    {"ceph_conf", OURS, AT(ceph_conf)},
    {"ceph_user", OURS, AT(ceph_user)},
    {"mover", OURS, AT(mover)},
    {"mover_address", OURS, AT(mover_address)},
    {"mover_certificates", OURS, AT(mover_certificates)},
    {"instance", OURS, AT(instance)},
    {"devices", OURS, AT(devices)},
    {"volume_endpoint", CLOUD, AT(endpoints[BF_CLOUD_VOLUME])},
    {"compute_endpoint", CLOUD, AT(endpoints[BF_CLOUD_COMPUTE])},
    {"network_endpoint", CLOUD, AT(endpoints[BF_CLOUD_NETWORK])},
    {"image_endpoint", CLOUD, AT(endpoints[BF_CLOUD_IMAGE])},
};
/* clang-format on */
#undef AT

static int take_texts(struct bf_cloud_conf *conf, struct json_object *object, const char *path,
                      unsigned places, struct bf_error *err)
{
    for (size_t i = 0; i < bf_array_length(texts); i++) {
        char **member = (char **)(void *)((char *)conf + texts[i].offset);
        const char *text = NULL;

        if (!(texts[i].place & places))
            continue;
        if (bf_json_opt_string(object, path, texts[i].name, &text, err) < 0)
            return -1;
        if (text) {
            free(*member);
            *member = bf_xstrdup(text);
        }
    }
    return 0;
}

/* --- clouds.yaml --- */

static bool is_false(const char *text)
{
    return text && (strcasecmp(text, "false") == 0 || strcasecmp(text, "no") == 0 ||
                    strcmp(text, "0") == 0);
}

static int take_cloud(struct bf_cloud_conf *conf, struct json_object *entry, struct bf_error *err)
{
    struct json_object *auth = NULL;
    const char *url = NULL, *user = NULL, *secret = NULL, *verify = NULL, *endpoint_type = NULL;

    if (bf_json_get_object(entry, "cloud", "auth", &auth, err) < 0 ||
        bf_json_get_string(auth, "cloud.auth", "auth_url", &url, err) < 0 ||
        bf_json_opt_string(auth, "cloud.auth", "username", &user, err) < 0 ||
        bf_json_opt_string(auth, "cloud.auth", "password", &secret, err) < 0 ||
        bf_json_opt_string(auth, "cloud.auth", "application_credential_secret", &secret, err) < 0 ||
        bf_json_opt_string(entry, "cloud", "verify", &verify, err) < 0 ||
        bf_json_opt_string(entry, "cloud", "endpoint_type", &endpoint_type, err) < 0 ||
        take_texts(conf, auth, "cloud.auth", LOGIN, err) < 0 ||
        take_texts(conf, entry, "cloud", CLOUD, err) < 0)
        return -1;
    if (is_false(verify) && !conf->pin_sha256)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "the cloud's verify is false: give cacert there, or pin_sha256 here");
    conf->auth_url = bf_xstrdup(url);
    conf->user = bf_xstrdup(user);
    if (secret)
        conf->password = bf_secret_new(secret, strlen(secret));
    if (!conf->interface && endpoint_type)
        conf->interface = bf_xstrdup(endpoint_type);
    return 0;
}

/* The URL comes from the same file as the secret: else whoever may add a platform could have it
 * sent to an address of his own. */
static int from_clouds_yaml(const struct bf_platform_conf *conf, const char *path,
                            struct bf_cloud_conf *out, struct bf_error *err)
{
    bf_auto_json *entry = NULL;
    const char *name = conf->url + strlen(CLOUD_URL);

    if (conf->user || conf->password)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "url %s: user and password come from clouds.yaml",
                       conf->url);
    for (size_t i = 0; i < bf_array_length(texts); i++)
        if ((texts[i].place & (LOGIN | CLOUD)) && *(char **)(void *)((char *)out + texts[i].offset))
            return bf_fail(err, BF_E_BAD_INPUT, 0, "url %s: options.%s comes from clouds.yaml",
                           conf->url, texts[i].name);
    if (bf_clouds_yaml_read(path ? path : DEFAULT_CLOUDS_YAML, name, &entry, err) < 0)
        return -1;
    return take_cloud(out, entry, err);
}

/* --- options --- */

static int check_known(struct json_object *options, struct bf_error *err)
{
    static const char *const others[] = {"clouds_yaml",  "verify",      "multi_disk",
                                         "config_drive", "mover_slots", "boot"};
    const char *known[bf_array_length(texts) + bf_array_length(others) + 1];
    size_t count = 0;

    for (size_t i = 0; i < bf_array_length(texts); i++)
        known[count++] = texts[i].name;
    for (size_t i = 0; i < bf_array_length(others); i++)
        known[count++] = others[i];
    known[count] = NULL;
    return bf_option_check_names(options, known, NULL, err);
}

/* All of it or nothing. */
static int check_mover(const struct bf_cloud_conf *conf, struct bf_error *err)
{
    const char *address = conf->mover_address;

    if (conf->instance && (conf->mover || address || conf->mover_certificates))
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options.instance: volumes off RBD are attached to it, and to no mover");
    if (conf->devices && !conf->instance)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.devices: instance is needed with it");
    if (!conf->mover && !address && !conf->mover_certificates)
        return 0;
    if (!conf->mover || !address || !conf->mover_certificates)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options mover, mover_address and mover_certificates go together");
    if (!address[0] || strpbrk(address, "/@?# \t"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.mover_address: expected HOST or HOST:PORT");
    if (conf->mover_certificates[0] != '/')
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options.mover_certificates: expected an absolute path");
    return 0;
}

static int take_options(struct bf_cloud_conf *conf, struct json_object *options,
                        const char **ret_clouds_yaml, struct bf_error *err)
{
    const char *multi_disk = "sequential", *boot = "volume";
    uint64_t slots = 0;
    bool verify = true;

    if (check_known(options, err) < 0 ||
        take_texts(conf, options, "options", LOGIN | CLOUD | OURS, err) < 0 ||
        bf_json_opt_string(options, "options", "clouds_yaml", ret_clouds_yaml, err) < 0 ||
        bf_json_opt_string(options, "options", "multi_disk", &multi_disk, err) < 0 ||
        bf_json_opt_string(options, "options", "boot", &boot, err) < 0 ||
        bf_option_bool(options, "verify", &verify, err) < 0 ||
        bf_option_bool(options, "config_drive", &conf->config_drive, err) < 0 ||
        bf_option_u64(options, "mover_slots", 1, MOVER_SLOTS_MAX, &slots, err) < 0 ||
        check_mover(conf, err) < 0)
        return -1;
    if (!verify && !conf->pin_sha256)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "options.verify: certificates are verified; give cacert or pin_sha256");
    if (!bf_streq(multi_disk, "sequential") && !bf_streq(multi_disk, "pause"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.multi_disk: expected sequential or pause");
    if (!bf_streq(boot, "volume") && !bf_streq(boot, "image"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.boot: expected volume or image");
    conf->mover_slots = (unsigned)slots;
    conf->boot_from_image = bf_streq(boot, "image");
    conf->multi_disk = bf_streq(multi_disk, "pause") ? BF_CLOUD_PAUSE : BF_CLOUD_SEQUENTIAL;
    return 0;
}

/* --- all --- */

static int check_path(const char *name, const char *path, struct bf_error *err)
{
    if (path && path[0] != '/')
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.%s: expected an absolute path", name);
    return 0;
}

static int check_paths(const struct bf_cloud_conf *conf, struct bf_error *err)
{
    if (check_path("cacert", conf->cacert, err) < 0 ||
        check_path("ceph_conf", conf->ceph_conf, err) < 0)
        return -1;
    return check_path("devices", conf->devices, err);
}

/* As the tools take it: with "/v3", with a final slash, or without both. */
static int fix_url(struct bf_cloud_conf *conf, struct bf_error *err)
{
    size_t length = strlen(conf->auth_url);

    if (!bf_starts_with(conf->auth_url, "http://") && !bf_starts_with(conf->auth_url, "https://"))
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "url: expected Keystone's URL (https://HOST:5000/v3) or cloud:NAME");
    if (strpbrk(conf->auth_url, "@?#"))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "url: expected no user and no query in it");
    while (length > 0 && conf->auth_url[length - 1] == '/')
        conf->auth_url[--length] = '\0';
    if (!bf_ends_with(conf->auth_url, "/v3")) {
        char *with = bf_xasprintf("%s/v3", conf->auth_url);

        free(conf->auth_url);
        conf->auth_url = with;
    }
    return 0;
}

/* What names the project and how one logs in must be there. */
static int check_login(const struct bf_cloud_conf *conf, struct bf_error *err)
{
    if (!conf->password)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "a password (or an application credential's secret) is needed");
    if (conf->application_credential_id)
        return 0;
    if (!conf->user && !conf->user_id)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "a user is needed, or options.application_credential_id");
    if (!conf->project_id && !conf->project_name)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "options.project_name or project_id is needed");
    return 0;
}

static void set_defaults(struct bf_cloud_conf *conf)
{
    char name[128] = "";

    if (!conf->mover_slots)
        conf->mover_slots = DEFAULT_MOVER_SLOTS;
    if (!conf->interface)
        conf->interface = bf_xstrdup("public");
    if (bf_ends_with(conf->interface, "URL")) /* "publicURL", an older way to write it */
        conf->interface[strlen(conf->interface) - 3] = '\0';
    if (!conf->devices)
        conf->devices = bf_xstrdup(DEFAULT_DEVICES);
    if (conf->host)
        return;
    if (gethostname(name, sizeof(name) - 1) < 0 || !name[0])
        strcpy(name, "host");
    conf->host = bf_xasprintf("blockferry-%s", name);
}

static int parse(const struct bf_platform_conf *conf, struct bf_cloud_conf *out,
                 struct bf_error *err)
{
    const char *clouds_yaml = NULL;

    if (conf->options && take_options(out, conf->options, &clouds_yaml, err) < 0)
        return -1;
    if (bf_starts_with(conf->url, CLOUD_URL)) {
        if (from_clouds_yaml(conf, clouds_yaml, out, err) < 0)
            return -1;
    } else {
        if (clouds_yaml)
            return bf_fail(err, BF_E_BAD_INPUT, 0,
                           "options.clouds_yaml goes with the url cloud:NAME");
        out->auth_url = bf_xstrdup(conf->url);
        out->user = bf_xstrdup(conf->user);
        out->password = bf_secret_copy(conf->password);
    }
    if (fix_url(out, err) < 0 || check_login(out, err) < 0 || check_paths(out, err) < 0)
        return -1;
    out->work_directory = bf_xstrdup(conf->work_directory);
    set_defaults(out);
    return 0;
}

int bf_cloud_conf_parse(const struct bf_platform_conf *conf, struct bf_cloud_conf *ret_conf,
                        struct bf_error *err)
{
    struct bf_cloud_conf out = {0};

    if (parse(conf, &out, err) < 0) {
        bf_cloud_conf_done(&out);
        return -1;
    }
    *ret_conf = out;
    return 0;
}

int bf_cloud_check_options(struct json_object *options, struct bf_error *err)
{
    struct bf_cloud_conf conf = {0};
    const char *clouds_yaml = NULL;
    int rc = take_options(&conf, options, &clouds_yaml, err);

    if (rc == 0)
        rc = check_paths(&conf, err);
    bf_cloud_conf_done(&conf);
    return rc;
}

void bf_cloud_conf_done(struct bf_cloud_conf *conf)
{
    for (size_t i = 0; i < bf_array_length(texts); i++)
        free(*(char **)(void *)((char *)conf + texts[i].offset));
    free(conf->auth_url);
    free(conf->user);
    bf_secret_free(conf->password);
    free(conf->work_directory);
    *conf = (struct bf_cloud_conf){0};
}
