/* SPDX-License-Identifier: Apache-2.0 */
/* Keystone: what is asked, and what its answer holds. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/cloud.h"

/* --- the request --- */

static struct json_object *domain_of(const char *name, const char *id)
{
    struct json_object *domain = json_object_new_object();

    if (id)
        bf_json_add_string(domain, "id", id);
    else if (name)
        bf_json_add_string(domain, "name", name);
    else
        bf_json_add_string(domain, "id", "default");
    return domain;
}

static struct json_object *user_of(const struct bf_cloud_conf *conf)
{
    struct json_object *user = json_object_new_object();

    if (conf->user_id) {
        bf_json_add_string(user, "id", conf->user_id);
    } else {
        bf_json_add_string(user, "name", conf->user);
        json_object_object_add(user, "domain",
                               domain_of(conf->user_domain_name, conf->user_domain_id));
    }
    bf_json_add_string(user, "password", bf_secret_text(conf->password));
    return user;
}

static struct json_object *project_of(const struct bf_cloud_conf *conf)
{
    struct json_object *project = json_object_new_object();

    if (conf->project_id) {
        bf_json_add_string(project, "id", conf->project_id);
        return project;
    }
    bf_json_add_string(project, "name", conf->project_name);
    json_object_object_add(project, "domain",
                           domain_of(conf->project_domain_name, conf->project_domain_id));
    return project;
}

struct json_object *bf_cloud_auth_body(const struct bf_cloud_conf *conf)
{
    struct json_object *body = json_object_new_object();
    struct json_object *auth = json_object_new_object();
    struct json_object *identity = json_object_new_object();
    struct json_object *methods = json_object_new_array();
    struct json_object *method = json_object_new_object();
    const char *name = conf->application_credential_id ? "application_credential" : "password";

    json_object_object_add(body, "auth", auth);
    json_object_object_add(auth, "identity", identity);
    json_object_array_add(methods, json_object_new_string(name));
    json_object_object_add(identity, "methods", methods);
    json_object_object_add(identity, name, method);
    if (conf->application_credential_id) { /* it has its project in it */
        bf_json_add_string(method, "id", conf->application_credential_id);
        bf_json_add_string(method, "secret", bf_secret_text(conf->password));
        return body;
    }
    json_object_object_add(method, "user", user_of(conf));
    struct json_object *scope = json_object_new_object();
    json_object_object_add(scope, "project", project_of(conf));
    json_object_object_add(auth, "scope", scope);
    return body;
}

/* --- the answer --- */

static bool has_admin(struct json_object *token)
{
    struct json_object *roles = bf_cloud_at(token, "roles");

    for (size_t i = 0;
         json_object_is_type(roles, json_type_array) && i < json_object_array_length(roles); i++)
        if (bf_streq(bf_cloud_text(json_object_array_get_idx(roles, i), "name"), "admin"))
            return true;
    return false;
}

int bf_cloud_take_token(struct bf_cloud *cloud, const struct bf_http_response *response,
                        struct bf_error *err)
{
    bf_auto_free char *token = bf_http_header(response, "X-Subject-Token");
    bf_auto_json *body = NULL;
    const char *project = NULL;

    if (bf_json_parse(response->body, response->body_length, &body, err) < 0) {
        bf_error_recode(err, BF_E_PROTOCOL);
        return bf_fail_in(err, "Keystone's answer");
    }
    if (!token || strpbrk(token, "\r\n"))
        return bf_fail(err, BF_E_PROTOCOL, 0, "Keystone's answer has no X-Subject-Token");
    if (bf_cloud_need_id(body, "token/project/id", &project, err) < 0)
        return bf_fail_in(err, "Keystone's token is not of a project");
    bf_secret_free(cloud->token);
    cloud->token = bf_secret_new(token, strlen(token));
    explicit_bzero(token, strlen(token));
    free(cloud->project_id);
    cloud->project_id = bf_xstrdup(project);
    cloud->admin = has_admin(bf_cloud_at(body, "token"));
    json_object_put(cloud->catalog);
    cloud->catalog = json_object_get(bf_cloud_at(body, "token/catalog"));
    return 0;
}

/* --- the catalogue --- */

static const struct {
    const char *name;
    const char *types[4]; /* as clouds call them, best first */
} services[BF_CLOUD_SERVICE_MAX] = {
    [BF_CLOUD_VOLUME] = {"volume", {"volumev3", "block-storage", "block-store", NULL}},
    [BF_CLOUD_COMPUTE] = {"compute", {"compute", NULL}},
    [BF_CLOUD_NETWORK] = {"network", {"network", NULL}},
    [BF_CLOUD_IMAGE] = {"image", {"image", NULL}},
};

const char *bf_cloud_service_name(enum bf_cloud_service service)
{
    return services[service].name;
}

static const char *endpoint_of(const struct bf_cloud_conf *conf, struct json_object *service)
{
    struct json_object *endpoints = bf_cloud_at(service, "endpoints");

    if (!json_object_is_type(endpoints, json_type_array))
        return NULL;
    for (size_t i = 0; i < json_object_array_length(endpoints); i++) {
        struct json_object *endpoint = json_object_array_get_idx(endpoints, i);
        const char *region = bf_cloud_text(endpoint, "region_id");

        if (!region)
            region = bf_cloud_text(endpoint, "region");
        if (bf_streq(bf_cloud_text(endpoint, "interface"), conf->interface) &&
            (!conf->region_name || bf_streq(region, conf->region_name)))
            return bf_cloud_text(endpoint, "url");
    }
    return NULL;
}

static const char *look_up(const struct bf_cloud *cloud, const char *type)
{
    const char *url = NULL;

    if (!json_object_is_type(cloud->catalog, json_type_array))
        return NULL;
    for (size_t i = 0; !url && i < json_object_array_length(cloud->catalog); i++) {
        struct json_object *service = json_object_array_get_idx(cloud->catalog, i);

        if (bf_streq(bf_cloud_text(service, "type"), type))
            url = endpoint_of(&cloud->conf, service);
    }
    return url;
}

/* The catalogue's URLs of these two end before the version. */
static const char *version_part(enum bf_cloud_service service, const char *url)
{
    if (service == BF_CLOUD_NETWORK && !strstr(url, "/v2.0"))
        return "/v2.0";
    if (service == BF_CLOUD_IMAGE && !bf_ends_with(url, "/v2"))
        return "/v2";
    return "";
}

char *bf_cloud_find_endpoint(const struct bf_cloud *cloud, enum bf_cloud_service service)
{
    const char *url = cloud->conf.endpoints[service];
    size_t length;

    for (const char *const *type = services[service].types; !url && *type; type++)
        url = look_up(cloud, *type);
    if (!url)
        return NULL;
    length = strlen(url);
    while (length > 0 && url[length - 1] == '/')
        length--;
    bf_auto_free char *plain = bf_xasprintf("%.*s", (int)length, url);
    return bf_xasprintf("%s%s", plain, version_part(service, plain));
}
