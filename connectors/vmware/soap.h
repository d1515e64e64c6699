/* SPDX-License-Identifier: Apache-2.0 */
/* One session with a vCenter or an ESXi: SOAP (vim25) over HTTPS.
 *
 * A call is built by bf_vmware_request_begin(), filled through `xml` in the order that the API's
 * schema wants, and sent by bf_vmware_send().  A session that has ended (idle too long, vCenter
 * restarted, terminated by an admin) is noticed by the fault NotAuthenticated, which says that the
 * call was not carried out: the client logs in again and sends it once more.  What lived in the
 * session (views) is gone then; bf_vmware.logins tells.  No keep-alive is needed for that reason:
 * nothing that outlasts a call is kept in a session.
 *
 * Faults become errors of the catalogue, with their type and the server's text as evidence;
 * bf_vmware_fault() tells the type of the last one.  A connection that breaks is no fault, and what
 * became of the call is unknown then: the caller looks before it repeats.
 *
 * The password goes into the body of Login and nowhere else; that body is wiped.
 */
#pragma once

#include "base/http.h"
#include "base/xml.h"
#include "connectors/ops.h"
#include "connectors/vmware/conf.h"
#include "connectors/vmware/walk.h"

/* The movers that reach a machine's disks (mover_choice.h), as they were found last. */
struct bf_vmware_choice {
    char *machine; /* NULL: of none yet */
    size_t list[BF_MOVERS_MAX], count;
    struct bf_deadline until;
};

struct bf_vmware {
    struct bf_platform base;
    struct bf_vmware_conf conf;
    struct bf_http *http;
    char *cookie;      /* "Cookie: vmware_soap_session=..."; NULL: not logged in */
    char *version;     /* of the API, as sent in SOAPAction */
    char *full_name;   /* "VMware vCenter Server 8.0.2 build-..." */
    char *instance_id; /* NULL: an ESXi */
    char *session_key;
    char *root_folder, *collector, *view_manager, *session_manager, *authorization, *index;
    bool is_vcenter;
    char *fault;                       /* type of the last fault; NULL: none */
    unsigned logins;                   /* how often; tells whether a view can still be there */
    unsigned serial;                   /* makes names of files unique within this handle */
    struct bf_vmware_reader *readers;  /* open ones (reader.h) */
    struct bf_vmware_hotadd *hotadds;  /* open ones (hotadd.h) */
    struct json_object *exports;       /* path -> how often it is open (export.h) */
    struct json_object *network_names; /* portgroup key -> name, asked once */
    struct bf_vmware_choice choice;
};

static inline struct bf_vmware *bf_vmware_of(struct bf_platform *platform)
{
    return (struct bf_vmware *)platform;
}

int bf_vmware_open(const struct bf_platform_conf *conf, struct bf_platform **ret_platform,
                   struct bf_error *err);
void bf_vmware_close(struct bf_platform *platform); /* logs out */

/* An ordinary call. */
#define BF_VMWARE_CALL_MS 60000

struct bf_vmware_request {
    struct bf_xml_out xml; /* within the method's element, after _this */
    const char *method;
    uint64_t timeout_ms; /* 0: BF_VMWARE_CALL_MS */
};
void bf_vmware_request_begin(struct bf_vmware_request *request, const char *method,
                             const char *type, const char *id);
void bf_vmware_request_done(struct bf_vmware_request *request);
#define bf_auto_vmware_request                                                                     \
    __attribute__((cleanup(bf_vmware_request_done))) struct bf_vmware_request
/* <name type="TYPE">id</name> */
void bf_vmware_add_ref(struct bf_vmware_request *request, const char *name, const char *type,
                       const char *id);

struct bf_vmware_reply {
    xmlDocPtr doc;
    xmlNodePtr node; /* the response's element: its children are returnval */
};
/* Sends, and takes the request's content. */
int bf_vmware_send(struct bf_vmware *vw, struct bf_vmware_request *request,
                   struct bf_vmware_reply *ret_reply, struct bf_error *err);
void bf_vmware_reply_done(struct bf_vmware_reply *reply);
#define bf_auto_vmware_reply __attribute__((cleanup(bf_vmware_reply_done))) struct bf_vmware_reply

/* Was the last failure a fault of this type? */
bool bf_vmware_fault(const struct bf_vmware *vw, const char *type);
/* Set err from a fault's type and text, as a SOAP fault or a task has them; returns -1. */
int bf_vmware_fail(struct bf_vmware *vw, const char *what, xmlNodePtr fault, const char *text,
                   struct bf_error *err);
/* The session of a call that answered "not authenticated" in its content: log in again. */
int bf_vmware_login_again(struct bf_vmware *vw, struct bf_error *err);

/* See that conf.thumbprint is there: of the certificate that is verified or pinned. */
int bf_vmware_thumbprint(struct bf_vmware *vw, struct bf_error *err);

/* "%2f" in names stands for "/", and so on.  Caller frees. */
char *bf_vmware_unescape(const char *name);
