/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of OpenStack's services, as recorded from Zed: errors, tokens, places. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/openstack/neutron.h"
#include "connectors/openstack/place.h"
#include "connectors/openstack/pools.h"
#include "tests/unit/tap.h"

static struct json_object *json_of(const char *text)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct json_object *json = NULL;

    if (bf_json_parse(text, strlen(text), &json, &err) < 0)
        abort();
    return json;
}

static const struct {
    int status;
    const char *body;
    enum bf_error_code code;
    const char *word; /* in the message */
} errors[] = {
    {413,
     "{\"overLimit\": {\"code\": 413, \"message\": \"VolumeLimitExceeded: Maximum number of "
     "volumes "
     "allowed (10) exceeded for quota 'volumes'.\", \"retryAfter\": \"0\"}}",
     BF_E_QUOTA, "(10)"},
    {413,
     "{\"overLimit\": {\"code\": 413, \"message\": \"VolumeSizeExceedsAvailableQuota: Requested "
     "volume "
     "or snapshot exceeds allowed gigabytes quota. Requested 5G, quota is 6G and 4G has been "
     "consumed.\"}}",
     BF_E_QUOTA, "quota is 6G"},
    {413, "{\"overLimit\": {\"message\": \"This request was rate-limited.\"}}", BF_E_BUSY, "rate"},
    {403,
     "{\"forbidden\": {\"code\": 403, \"message\": \"Quota exceeded for ram: Requested 512, but "
     "already "
     "used 0 of 256 ram\"}}",
     BF_E_QUOTA, "512"},
    {403, "{\"forbidden\": {\"message\": \"Policy doesn't allow volume:create to be performed.\"}}",
     BF_E_PLATFORM_PRIVILEGE, "volume:create"},
    {409,
     "{\"NeutronError\": {\"type\": \"OverQuota\", \"message\": \"Quota exceeded for resources: "
     "['port'].\", \"detail\": \"\"}}",
     BF_E_QUOTA, "port"},
    {409,
     "{\"NeutronError\": {\"type\": \"MacAddressInUse\", \"message\": \"Unable to complete "
     "operation for "
     "network 1. The mac address 52:54:00:aa:bb:01 is in use.\", \"detail\": \"\"}}",
     BF_E_EXISTS, "52:54:00:aa:bb:01"},
    {409,
     "{\"NeutronError\": {\"type\": \"IpAddressAlreadyAllocated\", \"message\": \"IP address x\"}}",
     BF_E_EXISTS, "IpAddress"},
    {409, "{\"conflictingRequest\": {\"code\": 409, \"message\": \"ConflictNovaUsingAttachment\"}}",
     BF_E_IN_USE, "Nova"},
    {401,
     "{\"error\": {\"code\": 401, \"message\": \"The request you have made requires "
     "authentication.\","
     " \"title\": \"Unauthorized\"}}",
     BF_E_PLATFORM_AUTH, "requires authentication"},
    {404, "{\"itemNotFound\": {\"code\": 404, \"message\": \"Volume x could not be found.\"}}",
     BF_E_VOLUME_GONE, "could not be found"},
    {406, "{\"computeFault\": {\"message\": \"Version 3.99 is not supported\"}}",
     BF_E_PLATFORM_UNSUPPORTED, "3.99"},
    {500, "{\"computeFault\": {\"code\": 500, \"message\": \"The server has either erred\"}}",
     BF_E_PLATFORM_ERROR, "erred"},
    {503, "<html><body>Service Unavailable</body></html>", BF_E_PLATFORM_UNREACHABLE, "503"},
    {400, "{\"badRequest\": {\"message\": 7}}", BF_E_PLATFORM_ERROR, "400"},
    {400, "[1, 2", BF_E_PLATFORM_ERROR, "400"},
    {502, "", BF_E_PLATFORM_UNREACHABLE, "502"},
};

static void test_errors(void)
{
    char headers[] = "HTTP/1.1 400\r\nx-openstack-request-id: req-1\r\n\r\n";

    for (size_t i = 0; i < bf_array_length(errors); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_free char *body = bf_xstrdup(errors[i].body);
        struct bf_http_response response = {
            .body = body, .body_length = strlen(body), .headers = headers};
        struct bf_cloud_request request = {.path = "/x", .missing = BF_E_VOLUME_GONE};

        bf_cloud_fail_status(&request, errors[i].status, &response, &err);
        ok(err.code == errors[i].code && strstr(err.message, errors[i].word), "%d is %s: %s",
           errors[i].status, bf_error_id(err.code), err.message);
        ok(strstr(err.evidence, "req-1") != NULL, "with the request's id");
    }
}

static void test_token(void)
{
    static const char body[] =
        "{\"token\": {\"project\": {\"id\": \"0123\", \"name\": \"p\"}, \"roles\": [{\"name\": "
        "\"member\"},"
        " {\"name\": \"admin\"}], \"catalog\": [{\"type\": \"volumev3\", \"endpoints\": ["
        "{\"interface\": \"public\", \"region_id\": \"A\", \"url\": \"http://a:8776/v3/0123\"},"
        "{\"interface\": \"public\", \"region_id\": \"B\", \"url\": \"http://b:8776/v3/0123/\"}]},"
        "{\"type\": \"network\", \"endpoints\": [{\"interface\": \"public\", \"region_id\": \"B\","
        "\"url\": \"http://b:9696\"}]}]}}";
    char headers[] = "HTTP/1.1 201\r\nX-Subject-Token: gAAA\r\n\r\n";
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_cloud cloud = {0};
    struct bf_http_response response = {
        .body = bf_xstrdup(body), .body_length = strlen(body), .headers = headers};

    cloud.conf.interface = bf_xstrdup("public");
    cloud.conf.region_name = bf_xstrdup("B");
    ok(bf_cloud_take_token(&cloud, &response, &err) == 0, "a token is taken");
    is_string(bf_secret_text(cloud.token), "gAAA", "it is the header's");
    ok(cloud.admin && bf_streq(cloud.project_id, "0123"), "role and project");
    bf_auto_free char *volume = bf_cloud_find_endpoint(&cloud, BF_CLOUD_VOLUME);
    bf_auto_free char *network = bf_cloud_find_endpoint(&cloud, BF_CLOUD_NETWORK);
    bf_auto_free char *image = bf_cloud_find_endpoint(&cloud, BF_CLOUD_IMAGE);
    is_string(volume, "http://b:8776/v3/0123", "the region's endpoint");
    is_string(network, "http://b:9696/v2.0", "with the version where the catalogue has none");
    ok(!image, "what is not in the catalogue is not there");
    free(response.body);
    response.body = bf_xstrdup("{\"token\": {\"project\": {\"id\": \"../x\"}}}");
    response.body_length = strlen(response.body);
    ok(bf_cloud_take_token(&cloud, &response, &err) < 0 && err.code == BF_E_PROTOCOL,
       "an id that cannot be one is refused");
    free(response.body);
    bf_secret_free(cloud.token);
    json_object_put(cloud.catalog);
    free(cloud.project_id);
    bf_cloud_conf_done(&cloud.conf);
}

static const struct {
    const char *info;
    const char *uri; /* NULL: refused */
} places[] = {
    {"{\"driver_volume_type\":\"rbd\",\"name\":\"volumes/volume-1\",\"auth_username\":\"cinder\","
     "\"encrypted\":false}",
     "rbd:volumes/volume-1@s?conf=%2Fetc%2Fa%20b.conf&id=cinder"},
    {"{\"driver_volume_type\":\"rbd\",\"data\":{\"name\":\"p/i\"}}",
     "rbd:p/i@s?conf=%2Fetc%2Fa%20b.conf"},
    {"{\"driver_volume_type\":\"iscsi\",\"name\":\"p/i\"}", NULL},
    {"{\"driver_volume_type\":\"rbd\",\"name\":\"p/i\",\"encrypted\":true}", NULL},
    {"{\"driver_volume_type\":\"rbd\",\"name\":\"p/i@other\"}", NULL},
    {"{\"driver_volume_type\":\"rbd\",\"name\":\"p/i?conf=/x\"}", NULL},
    {"{\"driver_volume_type\":\"rbd\",\"name\":\"/i\"}", NULL},
    {"{\"driver_volume_type\":\"rbd\",\"name\":\"p/\"}", NULL},
    {"{\"driver_volume_type\":\"rbd\"}", NULL},
    {"{}", NULL},
};

static void test_places(void)
{
    struct bf_cloud cloud = {0};

    cloud.conf.ceph_conf = bf_xstrdup("/etc/a b.conf");
    for (size_t i = 0; i < bf_array_length(places); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_json *info = json_of(places[i].info);
        bf_auto_rbd_place place = {0};

        if (bf_rbd_place_read(&cloud, info, &place, &err) < 0) {
            ok(!places[i].uri, "place %zu is refused: %s", i, err.message);
            continue;
        }
        bf_auto_free char *uri = bf_rbd_place_uri(&cloud, &place, "s");
        is_string(uri, places[i].uri, "place %zu", i);
    }
    bf_cloud_conf_done(&cloud.conf);
}

static void test_subnets(void)
{
    bf_auto_json *subnets =
        json_of("[{\"id\":\"a\",\"cidr\":\"10.77.1.0/24\"},"
                "{\"id\":\"b\",\"cidr\":\"10.80.0.0/13\"},"
                "{\"id\":\"c\",\"cidr\":\"fd00:1::/64\"},{\"cidr\":\"0.0.0.0/0\"},"
                "{\"id\":\"e\",\"cidr\":\"10.9.9.9/99\"}]");
    static const char *const pairs[][2] = {
        {"10.77.1.5", "a"}, {"10.77.2.5", NULL}, {"10.87.255.255", "b"}, {"10.88.0.0", NULL},
        {"fd00:1::5", "c"}, {"fd00:2::5", NULL}, {"10.9.9.9", NULL},     {"nonsense", NULL},
    };

    for (size_t i = 0; i < bf_array_length(pairs); i++)
        is_string(bf_cloud_text(bf_neutron_subnet_of(subnets, pairs[i][0]), "id"), pairs[i][1],
                  "the subnet of %s", pairs[i][0]);
}

static void test_pools(void)
{
    bf_auto_json *pool = json_of("{\"capabilities\":{\"location_info\":"
                                 "\"ceph:/etc/ceph/ceph.conf:4d0e-f51d:cinder:volumes\"}}");
    bf_auto_json *other = json_of("{\"capabilities\":{\"location_info\":\"LVM:x\"}}");
    bf_auto_free char *fsid = bf_cinder_pool_fsid(pool);

    is_string(fsid, "4d0e-f51d", "the cluster of a pool");
    ok(!bf_cinder_pool_fsid(other), "of a pool on something else");
}

int main(void)
{
    test_errors();
    test_token();
    test_places();
    test_subnets();
    test_pools();
    return done();
}
