/* SPDX-License-Identifier: Apache-2.0 */
/* One OpenStack cloud: login, catalogue, calls of its services, errors translated.
 *
 * A call names a service and a path below its endpoint; the token, the microversion and the errors
 * are seen to here.  A token that was revoked or has run out is issued anew once per call.  Answers
 * are limited in size and must be JSON.  Nothing is repeated here but a GET or DELETE whose
 * connection broke before an answer: servers close idle connections without notice.
 *
 * Threads: one at a time; bf_platform_cancel() ends a call in progress (not a removal).
 * Sources: Keystone's v3, Cinder's v3, Nova's v2.1, Neutron's v2.0, Glance's v2 API references.
 */
#pragma once

#include "base/http.h"
#include "base/json.h"
#include "base/secret.h"
#include "connectors/ops.h"

enum bf_cloud_service {
    BF_CLOUD_VOLUME = 0,
    BF_CLOUD_COMPUTE,
    BF_CLOUD_NETWORK,
    BF_CLOUD_IMAGE,
    BF_CLOUD_SERVICE_MAX,
};

/* How several disks get one point in time when no agent freezes them. */
enum bf_cloud_multi_disk { BF_CLOUD_SEQUENTIAL = 0, BF_CLOUD_PAUSE };

/* The platform's options; docs/platforms/openstack.md lists them. */
struct bf_cloud_conf {
    char *auth_url; /* ends in "/v3" */
    char *user;
    char *user_id;
    struct bf_secret *password; /* or the application credential's secret */
    char *user_domain_name, *user_domain_id;
    char *project_name, *project_id;
    char *project_domain_name, *project_domain_id;
    char *application_credential_id;
    char *region_name;
    char *interface; /* "public", "internal" or "admin" */
    char *cacert;
    char *pin_sha256;
    char *endpoints[BF_CLOUD_SERVICE_MAX]; /* instead of the catalogue's; NULL: its */
    char *work_directory;
    char *host;               /* by which Cinder knows who holds a volume */
    char *volume_type;        /* default storage; NULL: the cloud's */
    char *availability_zone;  /* NULL: the cloud's choice */
    char *flavor;             /* NULL: nearest fit */
    char *ceph_conf;          /* NULL: Ceph's own default place */
    char *ceph_user;          /* NULL: the one that Cinder names */
    char *mover;              /* server that volumes off RBD are written through; NULL: none */
    char *mover_address;      /* where it answers */
    char *mover_certificates; /* made with its image */
    unsigned mover_slots;     /* volumes at a time */
    char *instance;           /* server that this service runs on; NULL: none, or it is not told */
    char *devices;            /* where its disks are found by their serials */
    enum bf_cloud_multi_disk multi_disk;
    bool config_drive;
    bool boot_from_image; /* launches boot from an image made of their boot volume */
};
int bf_cloud_conf_parse(const struct bf_platform_conf *conf, struct bf_cloud_conf *ret_conf,
                        struct bf_error *err);
/* Without URL, login and clouds.yaml; see ops.h. */
int bf_cloud_check_options(struct json_object *options, struct bf_error *err);
void bf_cloud_conf_done(struct bf_cloud_conf *conf);
/* The entry `cloud` of a clouds.yaml (with the secure.yaml beside it), all scalars as text. */
int bf_clouds_yaml_read(const char *path, const char *cloud, struct json_object **ret_entry,
                        struct bf_error *err);

struct bf_cloud_endpoint {
    char *url;      /* NULL: not looked up yet */
    unsigned minor; /* highest microversion there (of major 2 or 3); 0: not asked yet */
};

struct bf_cloud {
    struct bf_platform base;
    struct bf_cloud_conf conf;
    struct bf_http *http;       /* ends at a cancel; made when first used */
    struct bf_http *http_plain; /* for the login and for removals */
    struct bf_secret *token;    /* NULL: log in first */
    struct json_object *catalog;
    char *project_id; /* of the token */
    bool admin;       /* the token has a role "admin" */
    struct bf_cloud_endpoint endpoints[BF_CLOUD_SERVICE_MAX];
    int status;        /* HTTP status of the last answer; 0: there was none */
    bool server_asked; /* a server was asked for and Nova's answer is not known: it may come up */
    unsigned serial;
    unsigned mover_open; /* volumes that this handle has open through the mover */
};

static inline struct bf_cloud *bf_cloud_of(struct bf_platform *platform)
{
    return (struct bf_cloud *)platform;
}

int bf_cloud_open(const struct bf_platform_conf *conf, struct bf_platform **ret_platform,
                  struct bf_error *err);
void bf_cloud_close(struct bf_platform *platform);

/* --- auth.c --- */

/* The body of POST /v3/auth/tokens; holds the secret: the caller wipes its text. */
struct json_object *bf_cloud_auth_body(const struct bf_cloud_conf *conf);
/* Token, catalogue, project and roles out of the answer. */
int bf_cloud_take_token(struct bf_cloud *cloud, const struct bf_http_response *response,
                        struct bf_error *err);
/* The URL of a service by configuration or catalogue; NULL: the cloud has none. */
char *bf_cloud_find_endpoint(const struct bf_cloud *cloud, enum bf_cloud_service service);
const char *bf_cloud_service_name(enum bf_cloud_service service); /* "volume", "compute", ... */

/* --- calls --- */

struct bf_cloud_request {
    enum bf_cloud_service service;
    const char *method;         /* NULL: "GET" */
    const char *path;           /* below the endpoint, "/servers/..." */
    unsigned minor;             /* microversion wanted; less is used where the cloud has less */
    struct json_object *body;   /* NULL: none */
    enum bf_error_code missing; /* what a 404 is; 0: BF_E_PLATFORM_ERROR */
};
/* ret_json NULL: the answer's body is of no interest.  A body that is not there gives NULL. */
int bf_cloud_call(struct bf_cloud *cloud, const struct bf_cloud_request *request,
                  struct json_object **ret_json, struct bf_error *err);
/* GET with missing things as NULL: 0 and *ret_json NULL on 404. */
int bf_cloud_find(struct bf_cloud *cloud, const struct bf_cloud_request *request,
                  struct json_object **ret_json, struct bf_error *err);
/* The highest microversion of a service (its minor number). */
int bf_cloud_minor(struct bf_cloud *cloud, enum bf_cloud_service service, unsigned *ret_minor,
                   struct bf_error *err);
/* Is the service there at all? */
bool bf_cloud_has(struct bf_cloud *cloud, enum bf_cloud_service service);

/* Called per item, which it borrows; non-zero stops the listing with success. */
typedef int bf_cloud_item_fn(struct json_object *item, void *user);
/* A collection, page by page (by the links of the answer).  `path` may have a query. */
int bf_cloud_list(struct bf_cloud *cloud, const struct bf_cloud_request *request,
                  const char *collection, bf_cloud_item_fn *fn, void *user, struct bf_error *err);
/* The same, all items in an array. */
int bf_cloud_collect(struct bf_cloud *cloud, const struct bf_cloud_request *request,
                     const char *collection, struct json_object **ret_items, struct bf_error *err);

/* Set err from an answer of status 400 or more (error.c). */
int bf_cloud_fail_status(const struct bf_cloud_request *request, int status,
                         const struct bf_http_response *response, struct bf_error *err);
/* The platform's words in an error body; NULL: none.  Caller frees. */
char *bf_cloud_error_text(struct json_object *body);

/* --- reading answers: what is not there or of another type is NULL, 0, false --- */

struct json_object *bf_cloud_at(struct json_object *object, const char *path); /* "server/flavor" */
const char *bf_cloud_text(struct json_object *object, const char *path);
uint64_t bf_cloud_number(struct json_object *object, const char *path);
bool bf_cloud_bool(struct json_object *object, const char *path); /* also of "true" as text */
/* An id that can stand in a path; NULL otherwise. */
const char *bf_cloud_id(struct json_object *object, const char *path);
int bf_cloud_need_id(struct json_object *object, const char *path, const char **ret_id,
                     struct bf_error *err);
/* For a query's value.  Caller frees. */
char *bf_cloud_escape(const char *text);

/* --- tags: name "bf-<id> NAME" and metadata {"blockferry": tag, "blockferry_kind": kind} --- */

#define BF_CLOUD_TAG_KEY "blockferry"
#define BF_CLOUD_KIND_KEY "blockferry_kind"
/* Does the thing's metadata carry this tag (NULL: any valid one) and kind (NULL: any)? */
bool bf_cloud_is_tagged(struct json_object *thing, const char *tag, const char *kind);
struct json_object *bf_cloud_metadata(const char *tag, const char *kind);

/* --- waiting (wait.c) --- */

struct bf_cloud_wait {
    struct bf_cloud_request request; /* GET of the thing */
    const char *object;              /* "volume": member of the answer; NULL: all of it */
    const char *what;                /* for messages: "volume UUID" */
    const char *const *wanted;       /* statuses that end the wait well; NULL-terminated */
    const char *const *going; /* statuses to wait in; NULL: all that do not end in an error */
    bool gone;                /* 404 ends it well */
    uint64_t deadline_ms;
};
/* ret_json NULL or the thing as last seen; NULL when gone.  A status that is neither wanted nor to
 * wait in is an error with what the platform says of it. */
int bf_cloud_wait(struct bf_cloud *cloud, const struct bf_cloud_wait *wait,
                  struct json_object **ret_json, struct bf_error *err);
