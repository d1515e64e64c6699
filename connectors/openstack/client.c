/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "connectors/openstack/cloud.h"

#define ANSWER_MAX ((size_t)16 << 20)
#define CALL_MS 60000
#define PAGES_MAX 10000

/* --- HTTP --- */

static int new_http(struct bf_cloud *cloud, int cancel_fd, struct bf_http **ret_http,
                    struct bf_error *err)
{
    return bf_http_new(&(struct bf_http_conf){.ca_file = cloud->conf.cacert,
                                              .pin_sha256 = cloud->conf.pin_sha256,
                                              .user_agent = "blockferry/" BF_VERSION,
                                              .max_body = ANSWER_MAX,
                                              .cancel_fd = cancel_fd},
                       ret_http, err);
}

/* Not known before the platform is open: the descriptor that ends a call. */
static int choose_http(struct bf_cloud *cloud, struct bf_http **ret_http, struct bf_error *err)
{
    int cancel_fd = bf_platform_cancel_fd(&cloud->base);

    if (cancel_fd < 0 || !cloud->base.ops) {
        *ret_http = cloud->http_plain;
        return 0;
    }
    if (!cloud->http && new_http(cloud, cancel_fd, &cloud->http, err) < 0)
        return -1;
    *ret_http = cloud->http;
    return 0;
}

static bool may_repeat(const struct bf_http_request *request, const struct bf_error *err)
{
    return err->code == BF_E_PLATFORM_UNREACHABLE &&
           (bf_streq(request->method, "GET") || bf_streq(request->method, "DELETE") ||
            bf_ends_with(request->url, "/auth/tokens"));
}

static int perform(struct bf_cloud *cloud, const struct bf_http_request *request,
                   struct bf_http_response *response, struct bf_error *err)
{
    struct bf_http *http;
    uint64_t since_ms = bf_now_ms();

    if (choose_http(cloud, &http, err) < 0)
        return -1;
    cloud->status = 0;
    int rc = bf_http_perform(http, request, response, err);
    if (rc < 0 && may_repeat(request, err)) {
        bf_error_clear(err);
        rc = bf_http_perform(http, request, response, err);
    }
    if (rc < 0 && err->code == BF_E_TOO_LARGE)
        bf_error_recode(err, BF_E_PROTOCOL); /* the caller's request is not at fault */
    if (rc < 0)
        return -1;
    cloud->status = response->status;
    bf_log_debug("%s %.200s: %d, %llu ms", request->method, request->url, response->status,
                 (unsigned long long)(bf_now_ms() - since_ms));
    return 0;
}

static void wipe(struct json_object *body)
{
    char *text = (char *)(uintptr_t)json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN);

    explicit_bzero(text, strlen(text));
}

static int log_in(struct bf_cloud *cloud, struct bf_error *err)
{
    static const char *const headers[] = {"Content-Type: application/json",
                                          "Accept: application/json", NULL};
    __attribute__((cleanup(bf_http_response_done))) struct bf_http_response response = {0};
    bf_auto_free char *url = bf_xasprintf("%s/auth/tokens", cloud->conf.auth_url);
    bf_auto_json *body = bf_cloud_auth_body(&cloud->conf);
    const char *text = json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN);
    struct bf_http_request request = {.method = "POST",
                                      .url = url,
                                      .headers = headers,
                                      .body = text,
                                      .body_length = strlen(text),
                                      .timeout_ms = CALL_MS};
    int rc = perform(cloud, &request, &response, err);

    wipe(body);
    cloud->status = 0; /* what Keystone says is not the status of the call it is for */
    if (rc < 0)
        return -1;
    if (response.status >= 300) {
        bf_cloud_fail_status(&(struct bf_cloud_request){.method = "POST", .path = "/auth/tokens"},
                             response.status, &response, err);
        return bf_fail_in(err, "login at %s", cloud->conf.auth_url);
    }
    return bf_cloud_take_token(cloud, &response, err);
}

/* --- endpoints and their versions --- */

static int find_url(struct bf_cloud *cloud, enum bf_cloud_service service, struct bf_error *err)
{
    struct bf_cloud_endpoint *endpoint = &cloud->endpoints[service];

    if (!cloud->token && log_in(cloud, err) < 0)
        return -1;
    if (!endpoint->url)
        endpoint->url = bf_cloud_find_endpoint(cloud, service);
    if (!endpoint->url)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "the catalogue has no %s service with interface %s in region %s",
                       bf_cloud_service_name(service), cloud->conf.interface,
                       cloud->conf.region_name ? cloud->conf.region_name : "(any)");
    return 0;
}

bool bf_cloud_has(struct bf_cloud *cloud, enum bf_cloud_service service)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    return find_url(cloud, service, &ignored) == 0;
}

/* One request with the token; no judgement of the status. */
static int send_once(struct bf_cloud *cloud, const char *method, const char *url,
                     const char *version, struct json_object *body,
                     struct bf_http_response *response, struct bf_error *err)
{
    bf_auto_free char *token = bf_xasprintf("X-Auth-Token: %s", bf_secret_text(cloud->token));
    const char *headers[5] = {token, "Accept: application/json"};
    const char *text = body ? bf_json_text(body) : NULL;
    size_t count = 2;
    struct bf_http_request request = {.method = method,
                                      .url = url,
                                      .headers = headers,
                                      .body = text,
                                      .body_length = text ? strlen(text) : 0,
                                      .once = bf_streq(method, "POST"),
                                      .timeout_ms = CALL_MS};

    if (body)
        headers[count++] = "Content-Type: application/json";
    if (version)
        headers[count++] = version;
    int rc = perform(cloud, &request, response, err);
    explicit_bzero(token, strlen(token));
    return rc;
}

/* As above; a token that is not taken any more is issued anew, once. */
static int send(struct bf_cloud *cloud, const char *method, const char *url, const char *version,
                struct json_object *body, struct bf_http_response *response, struct bf_error *err)
{
    if (send_once(cloud, method, url, version, body, response, err) < 0)
        return -1;
    if (response->status != 401)
        return 0;
    bf_http_response_done(response);
    if (log_in(cloud, err) < 0)
        return -1;
    return send_once(cloud, method, url, version, body, response, err);
}

static unsigned minor_of(const char *version)
{
    const char *dot = version ? strchr(version, '.') : NULL;

    return dot ? (unsigned)strtoul(dot + 1, NULL, 10) : 0;
}

/* {"version": {...}} or {"versions": [{"id": "v3.0", "version": "3.70"}]} */
static unsigned read_versions(struct json_object *body)
{
    struct json_object *versions = bf_cloud_at(body, "versions");
    unsigned minor = minor_of(bf_cloud_text(body, "version/version"));

    if (!json_object_is_type(versions, json_type_array))
        return minor;
    for (size_t i = 0; i < json_object_array_length(versions); i++) {
        struct json_object *version = json_object_array_get_idx(versions, i);
        unsigned found = minor_of(bf_cloud_text(version, "version"));

        if (found > minor)
            minor = found;
    }
    return minor;
}

/* The endpoint without the project in it, which is where versions are told. */
static char *version_url(const struct bf_cloud *cloud, const char *url)
{
    const char *last = strrchr(url, '/');

    if (last && (strstr(last, cloud->project_id) || bf_starts_with(last, "/AUTH_")))
        return bf_xasprintf("%.*s/", (int)(last - url), url);
    return bf_xasprintf("%s/", url);
}

static int ask_versions(struct bf_cloud *cloud, enum bf_cloud_service service, struct bf_error *err)
{
    struct bf_cloud_endpoint *endpoint = &cloud->endpoints[service];
    __attribute__((cleanup(bf_http_response_done))) struct bf_http_response response = {0};
    bf_auto_free char *url = version_url(cloud, endpoint->url);
    bf_auto_json *body = NULL;

    if (send(cloud, "GET", url, NULL, NULL, &response, err) < 0)
        return bf_fail_in(err, "versions of the %s service", bf_cloud_service_name(service));
    if (response.status >= 400)
        return bf_cloud_fail_status(
            &(struct bf_cloud_request){.service = service, .path = "/ (versions)"}, response.status,
            &response, err);
    if (bf_json_parse(response.body, response.body_length, &body, err) < 0) {
        bf_error_recode(err, BF_E_PROTOCOL);
        return bf_fail_in(err, "versions of the %s service", bf_cloud_service_name(service));
    }
    endpoint->minor = read_versions(body);
    if (!endpoint->minor)
        endpoint->minor = 1; /* no microversions: the oldest there is */
    return 0;
}

int bf_cloud_minor(struct bf_cloud *cloud, enum bf_cloud_service service, unsigned *ret_minor,
                   struct bf_error *err)
{
    if (find_url(cloud, service, err) < 0)
        return -1;
    if (!cloud->endpoints[service].minor && ask_versions(cloud, service, err) < 0)
        return -1;
    *ret_minor = cloud->endpoints[service].minor;
    return 0;
}

/* *ret_header stays NULL where the service or the call knows no microversions. */
static int version_header(struct bf_cloud *cloud, const struct bf_cloud_request *request,
                          char **ret_header, struct bf_error *err)
{
    unsigned minor;

    if (!request->minor || request->service > BF_CLOUD_COMPUTE)
        return 0;
    if (bf_cloud_minor(cloud, request->service, &minor, err) < 0)
        return -1;
    *ret_header = bf_xasprintf("OpenStack-API-Version: %s %d.%u",
                               request->service == BF_CLOUD_VOLUME ? "volume" : "compute",
                               request->service == BF_CLOUD_VOLUME ? 3 : 2,
                               minor < request->minor ? minor : request->minor);
    return 0;
}

/* --- calls --- */

static int call_url(struct bf_cloud *cloud, const struct bf_cloud_request *request, const char *url,
                    struct json_object **ret_json, struct bf_error *err)
{
    __attribute__((cleanup(bf_http_response_done))) struct bf_http_response response = {0};
    bf_auto_free char *version = NULL;
    bf_auto_json *json = NULL;

    if (version_header(cloud, request, &version, err) < 0 ||
        send(cloud, request->method ? request->method : "GET", url, version, request->body,
             &response, err) < 0)
        return -1;
    if (response.status >= 300)
        return bf_cloud_fail_status(request, response.status, &response, err);
    if (!ret_json)
        return 0;
    if (response.body_length &&
        bf_json_parse(response.body, response.body_length, &json, err) < 0) {
        bf_error_recode(err, BF_E_PROTOCOL);
        return bf_fail_in(err, "answer to %s%s", bf_cloud_service_name(request->service),
                          request->path);
    }
    *ret_json = bf_steal(json);
    return 0;
}

int bf_cloud_call(struct bf_cloud *cloud, const struct bf_cloud_request *request,
                  struct json_object **ret_json, struct bf_error *err)
{
    if (find_url(cloud, request->service, err) < 0)
        return -1;
    bf_auto_free char *url =
        bf_xasprintf("%s%s", cloud->endpoints[request->service].url, request->path);
    return call_url(cloud, request, url, ret_json, err);
}

int bf_cloud_find(struct bf_cloud *cloud, const struct bf_cloud_request *request,
                  struct json_object **ret_json, struct bf_error *err)
{
    struct json_object *json = NULL;

    if (bf_cloud_call(cloud, request, &json, err) < 0) {
        if (cloud->status != 404)
            return -1;
        bf_error_clear(err);
    }
    *ret_json = json;
    return 0;
}

/* --- collections --- */

static const char *next_link(struct json_object *body, const char *collection)
{
    bf_auto_free char *key = bf_xasprintf("%s_links", collection);
    struct json_object *links = bf_cloud_at(body, key);

    if (!json_object_is_type(links, json_type_array))
        return bf_cloud_text(body, "next"); /* Glance */
    for (size_t i = 0; i < json_object_array_length(links); i++) {
        struct json_object *link = json_object_array_get_idx(links, i);

        if (bf_streq(bf_cloud_text(link, "rel"), "next"))
            return bf_cloud_text(link, "href");
    }
    return NULL;
}

/* Only the query of a link is used: its host may be one that only the cloud itself reaches, and the
 * token must not go anywhere else. */
static char *next_path(const char *path, const char *link)
{
    const char *query = strchr(link, '?');

    return query ? bf_xasprintf("%.*s%s", (int)strcspn(path, "?"), path, query) : NULL;
}

int bf_cloud_list(struct bf_cloud *cloud, const struct bf_cloud_request *request,
                  const char *collection, bf_cloud_item_fn *fn, void *user, struct bf_error *err)
{
    bf_auto_free char *path = bf_xstrdup(request->path);

    for (unsigned page = 0; path; page++) {
        struct bf_cloud_request one = *request;
        bf_auto_json *body = NULL;

        one.path = path;
        if (page == PAGES_MAX)
            return bf_fail(err, BF_E_PROTOCOL, 0, "%s: the pages do not end", request->path);
        if (bf_cloud_call(cloud, &one, &body, err) < 0)
            return -1;
        struct json_object *items = bf_cloud_at(body, collection);
        if (!json_object_is_type(items, json_type_array))
            return bf_fail(err, BF_E_PROTOCOL, 0, "%s: the answer has no \"%s\"", request->path,
                           collection);
        for (size_t i = 0; i < json_object_array_length(items); i++)
            if (fn(json_object_array_get_idx(items, i), user) != 0)
                return 0;
        const char *link = next_link(body, collection);
        char *next = link && json_object_array_length(items) ? next_path(path, link) : NULL;
        free(path);
        path = next;
    }
    return 0;
}

static int add_item(struct json_object *item, void *user)
{
    json_object_array_add(user, json_object_get(item));
    return 0;
}

int bf_cloud_collect(struct bf_cloud *cloud, const struct bf_cloud_request *request,
                     const char *collection, struct json_object **ret_items, struct bf_error *err)
{
    bf_auto_json *items = json_object_new_array();

    if (bf_cloud_list(cloud, request, collection, add_item, items, err) < 0)
        return -1;
    *ret_items = bf_steal(items);
    return 0;
}

/* --- the handle --- */

void bf_cloud_close(struct bf_platform *platform)
{
    struct bf_cloud *cloud = bf_cloud_of(platform);

    bf_http_free(cloud->http);
    bf_http_free(cloud->http_plain);
    bf_secret_free(cloud->token);
    json_object_put(cloud->catalog);
    free(cloud->project_id);
    for (size_t i = 0; i < BF_CLOUD_SERVICE_MAX; i++)
        free(cloud->endpoints[i].url);
    bf_cloud_conf_done(&cloud->conf);
    free(cloud);
}

int bf_cloud_open(const struct bf_platform_conf *conf, struct bf_platform **ret_platform,
                  struct bf_error *err)
{
    struct bf_cloud *cloud = bf_xcalloc(1, sizeof(*cloud));

    cloud->base.cancel_fd = -1;
    if (bf_cloud_conf_parse(conf, &cloud->conf, err) < 0 ||
        new_http(cloud, -1, &cloud->http_plain, err) < 0 || log_in(cloud, err) < 0) {
        bf_cloud_close(&cloud->base);
        return -1;
    }
    *ret_platform = &cloud->base;
    return 0;
}
