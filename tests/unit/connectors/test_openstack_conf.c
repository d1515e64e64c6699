/* SPDX-License-Identifier: Apache-2.0 */
/* Options and clouds.yaml of an OpenStack platform: what is taken, what is refused and how. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "connectors/openstack/cloud.h"
#include "tests/unit/tap.h"

static int parse(const char *url, const char *user, const char *password, const char *options,
                 struct bf_cloud_conf *ret_conf, struct bf_error *err)
{
    bf_auto_error bad = BF_ERROR_INIT;
    bf_auto_json *json = NULL;
    bf_auto_secret *secret = password ? bf_secret_new(password, strlen(password)) : NULL;
    struct bf_platform_conf conf = {.name = "p",
                                    .type = "openstack",
                                    .url = url,
                                    .user = user,
                                    .password = secret,
                                    .work_directory = "/w"};

    if (options && bf_json_parse(options, strlen(options), &json, &bad) < 0)
        abort();
    conf.options = json;
    return bf_cloud_conf_parse(&conf, ret_conf, err);
}

static const struct {
    const char *what, *url, *user, *password, *options;
    const char *word; /* of the refusal; NULL: taken */
} cases[] = {
    {"user and project", "https://k:5000", "u", "s", "{\"project_name\":\"p\"}", NULL},
    {"project id", "https://k:5000/v3/", "u", "s", "{\"project_id\":\"p\"}", NULL},
    {"application credential", "https://k/v3", NULL, "s", "{\"application_credential_id\":\"a\"}",
     NULL},
    {"no project", "https://k/v3", "u", "s", NULL, "project_name"},
    {"no user", "https://k/v3", NULL, "s", "{\"project_name\":\"p\"}", "user"},
    {"no password", "https://k/v3", "u", NULL, "{\"project_name\":\"p\"}", "password"},
    {"another scheme", "file:///etc/passwd", "u", "s", "{\"project_name\":\"p\"}", "url"},
    {"a user in the URL", "https://x:y@k/v3", "u", "s", "{\"project_name\":\"p\"}", "url"},
    {"an unknown option", "https://k/v3", "u", "s", "{\"project_name\":\"p\",\"insecure\":true}",
     "insecure"},
    {"verify off", "https://k/v3", "u", "s", "{\"project_name\":\"p\",\"verify\":false}", "verify"},
    {"verify off, as the command line says it", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"verify\":\"false\"}", "verify"},
    {"config_drive neither", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"config_drive\":\"maybe\"}", "config_drive"},
    {"verify off with a pin", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"verify\":false,\"pin_sha256\":\"x\"}", NULL},
    {"a relative cacert", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"cacert\":\"ca.pem\"}", "cacert"},
    {"a relative ceph_conf", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"ceph_conf\":\"c\"}", "ceph_conf"},
    {"an unknown multi_disk", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"multi_disk\":\"group\"}", "multi_disk"},
    {"a mover without certificates", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"mover\":\"id\",\"mover_address\":\"10.0.0.5\"}", "go together"},
    {"a mover's address with a path", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"mover\":\"id\",\"mover_address\":\"h/x\","
     "\"mover_certificates\":\"/c\"}",
     "mover_address"},
    {"a mover's certificates at a relative path", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"mover\":\"id\",\"mover_address\":\"h\","
     "\"mover_certificates\":\"c\"}",
     "absolute"},
    {"a mover without slots", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"mover_slots\":\"0\"}", "mover_slots"},
    {"a mover", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"mover\":\"id\",\"mover_address\":\"10.0.0.5:10809\","
     "\"mover_certificates\":\"/c\",\"mover_slots\":4}",
     NULL},
    {"an unknown endpoint", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"object_endpoint\":\"https://o\"}", "object"},
    {"a file without cloud:", "https://k/v3", "u", "s",
     "{\"project_name\":\"p\",\"clouds_yaml\":\"/x\"}", "cloud:NAME"},
    {"cloud: with a password", "cloud:c", NULL, "s", "{\"clouds_yaml\":\"/x\"}", "clouds.yaml"},
    {"cloud: with endpoints", "cloud:c", NULL, NULL,
     "{\"clouds_yaml\":\"/x\",\"volume_endpoint\":\"https://evil\"}", "clouds.yaml"},
    {"cloud: with a CA", "cloud:c", NULL, NULL, "{\"clouds_yaml\":\"/x\",\"cacert\":\"/evil.pem\"}",
     "cacert"},
    {"cloud: with a relative path", "cloud:c", NULL, NULL, "{\"clouds_yaml\":\"x\"}", "absolute"},
};

static void test_options(void)
{
    for (size_t i = 0; i < bf_array_length(cases); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        struct bf_cloud_conf conf = {0};
        int rc =
            parse(cases[i].url, cases[i].user, cases[i].password, cases[i].options, &conf, &err);

        ok((rc == 0) == !cases[i].word, "%s is %s", cases[i].what,
           cases[i].word ? "refused" : "taken");
        if (rc < 0)
            ok(cases[i].word && strstr(err.message, cases[i].word), "and the error names it: %s",
               err.message);
        else
            is_string(conf.auth_url + strlen(conf.auth_url) - 3, "/v3", "the URL ends in /v3");
        bf_cloud_conf_done(&conf);
    }
}

/* --- clouds.yaml --- */

static const char good[] = "clouds:\n"
                           "  one:\n"
                           "    region_name: R\n"
                           "    interface: internal\n"
                           "    cacert: /etc/ca.pem\n"
                           "    networks: [{name: x, default: true}]\n"
                           "    auth: &login\n"
                           "      auth_url: https://k:5000\n"
                           "      username: u\n"
                           "      password: pa55word\n"
                           "      project_name: p\n"
                           "      user_domain_name: D\n"
                           "  two:\n"
                           "    auth: *login\n"
                           "    verify: false\n"
                           "  three:\n"
                           "    auth: {auth_url: 'https://k:5000', application_credential_id: i}\n";
static const char secure[] = "clouds: {three: {auth: {application_credential_secret: s3cret}}}\n";

static void test_clouds_yaml(const char *directory)
{
    bf_auto_free char *path = bf_xasprintf("%s/clouds.yaml", directory);
    bf_auto_free char *more = bf_xasprintf("%s/secure.yaml", directory);
    bf_auto_free char *options = bf_xasprintf("{\"clouds_yaml\":\"%s\"}", path);
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_cloud_conf conf = {0};

    if (bf_file_replace(path, good, strlen(good), 0600, &err) < 0 ||
        bf_file_replace(more, secure, strlen(secure), 0600, &err) < 0)
        abort();
    ok(parse("cloud:one", NULL, NULL, options, &conf, &err) == 0, "a cloud is read");
    is_string(conf.auth_url, "https://k:5000/v3", "its URL");
    is_string(conf.interface, "internal", "its interface");
    is_string(conf.cacert, "/etc/ca.pem", "its CA");
    is_string(conf.user_domain_name, "D", "its domain");
    is_string(bf_secret_text(conf.password), "pa55word", "its password");
    bf_cloud_conf_done(&conf);
    ok(parse("cloud:two", NULL, NULL, options, &conf, &err) < 0 && strstr(err.message, "verify") &&
           !strstr(err.message, "pa55word"),
       "verify: false is refused");
    bf_error_clear(&err);
    ok(parse("cloud:three", NULL, NULL, options, &conf, &err) == 0, "secure.yaml is merged");
    is_string(bf_secret_text(conf.password), "s3cret", "and has the secret");
    bf_cloud_conf_done(&conf);
    ok(parse("cloud:four", NULL, NULL, options, &conf, &err) < 0, "an unknown cloud is refused");
    bf_error_clear(&err);
    chmod(path, 0666);
    ok(parse("cloud:one", NULL, NULL, options, &conf, &err) < 0 &&
           strstr(err.message, "writable by nobody else"),
       "a file that others may write is refused");
}

/* What is no clouds.yaml is refused without a word of what it holds. */
static void test_other_files(const char *directory)
{
    static const char *const texts[] = {
        "root:x:0:0:root:/root:/bin/bash\n",
        "clouds: topsecret\n",
        "topsecret",
        "clouds: {one: {auth: topsecret}}\n",
        "{ topsecret: [",
        "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
        "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
        "clouds: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n",
        "clouds: &c {one: *c}\n",
        "",
    };
    bf_auto_free char *path = bf_xasprintf("%s/other.yaml", directory);
    bf_auto_free char *options = bf_xasprintf("{\"clouds_yaml\":\"%s\"}", path);

    for (size_t i = 0; i < bf_array_length(texts); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        struct bf_cloud_conf conf = {0};

        if (bf_file_replace(path, texts[i], strlen(texts[i]), 0600, &err) < 0)
            abort();
        ok(parse("cloud:one", NULL, NULL, options, &conf, &err) < 0 &&
               !strstr(err.message, "topsecret") && !strstr(err.message, "root:"),
           "file %zu is refused: %s", i, err.message ? err.message : "");
        bf_cloud_conf_done(&conf);
    }
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_cloud_conf conf = {0};
    ok(parse("cloud:one", NULL, NULL, "{\"clouds_yaml\":\"/dev/zero\"}", &conf, &err) < 0,
       "a device is refused");
}

int main(void)
{
    char directory[] = "/tmp/bf-clouds-XXXXXX";
    bf_auto_error err = BF_ERROR_INIT;

    if (!mkdtemp(directory))
        abort();
    test_options();
    test_clouds_yaml(directory);
    test_other_files(directory);
    return bf_directory_remove(directory, &err) < 0 ? 1 : done();
}
