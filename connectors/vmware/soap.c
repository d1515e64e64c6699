/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/soap.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/certificate.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/vmware/fault.h"

#define WANTED_VERSION "6.5" /* all calls of ours are in it; every later server takes it */
#define LOGOUT_MS 5000
#define CERTIFICATE_MS 10000

/* --- requests --- */

static void envelope_begin(struct bf_xml_out *xml)
{
    bf_xml_open(xml, "soapenv:Envelope");
    bf_xml_attr(xml, "xmlns:soapenv", "http://schemas.xmlsoap.org/soap/envelope/");
    bf_xml_attr(xml, "xmlns:xsd", "http://www.w3.org/2001/XMLSchema");
    bf_xml_attr(xml, "xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance");
    bf_xml_open(xml, "soapenv:Body");
}

void bf_vmware_add_ref(struct bf_vmware_request *request, const char *name, const char *type,
                       const char *id)
{
    bf_xml_open(&request->xml, name);
    bf_xml_attr(&request->xml, "type", type);
    bf_xml_content(&request->xml, id);
    bf_xml_close(&request->xml);
}

void bf_vmware_request_begin(struct bf_vmware_request *request, const char *method,
                             const char *type, const char *id)
{
    request->method = method;
    envelope_begin(&request->xml);
    bf_xml_open(&request->xml, method);
    bf_xml_attr(&request->xml, "xmlns", "urn:vim25");
    bf_vmware_add_ref(request, "_this", type, id);
}

void bf_vmware_request_done(struct bf_vmware_request *request)
{
    bf_xml_out_done(&request->xml);
}

/* Closes what the beginning opened. */
static char *request_finish(struct bf_vmware_request *request)
{
    assert(request->xml.depth == 3);
    bf_xml_close(&request->xml);
    bf_xml_close(&request->xml);
    bf_xml_close(&request->xml);
    return bf_xml_finish(&request->xml);
}

/* --- one exchange --- */

void bf_vmware_reply_done(struct bf_vmware_reply *reply)
{
    bf_xml_free(reply->doc);
    *reply = (struct bf_vmware_reply){0};
}

bool bf_vmware_fault(const struct bf_vmware *vw, const char *type)
{
    return bf_streq(vw->fault, type);
}

int bf_vmware_fail(struct bf_vmware *vw, const char *what, xmlNodePtr fault, const char *text,
                   struct bf_error *err)
{
    bf_auto_free char *type = fault ? bf_vmware_type(fault) : NULL;
    size_t length = type || !fault ? 0 : strlen((const char *)fault->name);

    /* <NotAuthenticatedFault> tells its type by its name as well. */
    if (length > 5 && bf_ends_with((const char *)fault->name, "Fault"))
        type = bf_xasprintf("%.*s", (int)length - 5, (const char *)fault->name);
    free(vw->fault);
    vw->fault = bf_xstrdup(type);
    return bf_vmware_fault_fail(what, type, fault, text, err);
}

/* The cookie is the session; other attributes of it are for browsers. */
static void keep_cookie(struct bf_vmware *vw, const struct bf_http_response *response)
{
    bf_auto_free char *header = bf_http_header(response, "Set-Cookie");

    if (!header || !bf_starts_with(header, "vmware_soap_session="))
        return;
    free(vw->cookie);
    vw->cookie = bf_xasprintf("Cookie: %.*s", (int)strcspn(header, ";"), header);
}

static int read_reply(struct bf_vmware *vw, const char *method, struct bf_http_response *response,
                      struct bf_vmware_reply *ret_reply, struct bf_error *err)
{
    bf_auto_vmware_reply reply = {0};
    xmlNodePtr body, fault;

    if (response->status != 200 && response->status != 500) {
        bf_fail(err,
                response->status == 503 || response->status == 502 ? BF_E_PLATFORM_UNREACHABLE
                                                                   : BF_E_PROTOCOL,
                0, "%s: HTTP status %d of %s", method, response->status, vw->conf.origin);
        bf_error_evidence(err, response->body);
        return -1;
    }
    if (bf_xml_parse(response->body, response->body_length, method, &reply.doc, err) < 0) {
        bf_error_evidence(err, response->body);
        return -1;
    }
    body = bf_vmware_child(xmlDocGetRootElement(reply.doc), "Body");
    fault = bf_vmware_child(body, "Fault");
    if (fault) {
        bf_auto_free char *text = bf_vmware_text(fault, "faultstring");

        return bf_vmware_fail(vw, method, bf_vmware_child(bf_vmware_find(fault, "detail"), NULL),
                              text, err);
    }
    reply.node = bf_vmware_child(body, NULL);
    if (!reply.node || response->status != 200)
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: %s sent no SOAP answer", method,
                       vw->conf.origin);
    keep_cookie(vw, response);
    *ret_reply = reply;
    reply = (struct bf_vmware_reply){0};
    return 0;
}

static void response_done(struct bf_http_response *response)
{
    bf_http_response_done(response);
}

static int exchange(struct bf_vmware *vw, const char *method, const char *text, uint64_t timeout_ms,
                    struct bf_vmware_reply *ret_reply, struct bf_error *err)
{
    bf_auto_free char *url = bf_xasprintf("%s/sdk", vw->conf.origin);
    bf_auto_free char *action = bf_xasprintf("SOAPAction: \"urn:vim25/%s\"", vw->version);
    const char *headers[] = {"Content-Type: text/xml; charset=utf-8", action, vw->cookie, NULL};
    struct bf_http_request request = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .body = text,
        .body_length = strlen(text),
        .once = bf_ends_with(method, "_Task"), /* two of a snapshot would be one too many */
        .timeout_ms = timeout_ms ? timeout_ms : BF_VMWARE_CALL_MS,
    };
    __attribute__((cleanup(response_done))) struct bf_http_response response = {0};

    free(bf_steal(vw->fault));
    /* Before the front has filled the handle in, there is nothing to cancel by. */
    bf_http_set_cancel_fd(vw->http, vw->base.ops ? bf_platform_cancel_fd(&vw->base) : -1);
    if (bf_http_perform(vw->http, &request, &response, err) < 0)
        return bf_fail_in(err, "%s", method);
    return read_reply(vw, method, &response, ret_reply, err);
}

/* --- session --- */

static int log_in(struct bf_vmware *vw, struct bf_error *err)
{
    struct bf_vmware_request request = {0};
    const char *password = bf_secret_text(vw->conf.password);
    bf_auto_vmware_reply reply = {0};
    size_t room = 4096 + 6 * (strlen(password) + strlen(vw->conf.user));
    int rc;

    free(bf_steal(vw->cookie));
    /* Room from the start: a buffer that grows leaves copies of its content behind. */
    bf_xgrow(&request.xml.buf.text, &request.xml.buf.capacity, room, 1);
    bf_vmware_request_begin(&request, "Login", "SessionManager", vw->session_manager);
    bf_xml_leaf(&request.xml, "userName", vw->conf.user);
    bf_xml_leaf(&request.xml, "password", password);
    char *text = request_finish(&request);
    rc = exchange(vw, "Login", text, 0, &reply, err);
    explicit_bzero(text, strlen(text));
    free(text);
    if (rc < 0)
        return -1;
    free(vw->session_key);
    vw->session_key = bf_vmware_text(reply.node, "returnval/key");
    if (!vw->cookie)
        return bf_fail(err, BF_E_PROTOCOL, 0, "Login: %s sent no session cookie", vw->conf.origin);
    vw->logins++;
    return 0;
}

int bf_vmware_login_again(struct bf_vmware *vw, struct bf_error *err)
{
    if (log_in(vw, err) < 0)
        return bf_fail_in(err, "logging in again");
    return 0;
}

int bf_vmware_send(struct bf_vmware *vw, struct bf_vmware_request *request,
                   struct bf_vmware_reply *ret_reply, struct bf_error *err)
{
    bf_auto_free char *text = request_finish(request);
    int rc = exchange(vw, request->method, text, request->timeout_ms, ret_reply, err);

    if (rc < 0 && bf_vmware_fault(vw, "NotAuthenticated")) {
        bf_error_clear(err);
        if (bf_vmware_login_again(vw, err) < 0)
            return bf_fail_in(err, "%s", request->method);
        rc = exchange(vw, request->method, text, request->timeout_ms, ret_reply, err);
    }
    return rc;
}

static void log_out(struct bf_vmware *vw)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    struct bf_vmware_request request = {0};
    bf_auto_vmware_reply reply = {0};

    /* Else the session stays until it has been idle for half an hour, and there is a limit. */
    bf_vmware_request_begin(&request, "Logout", "SessionManager", vw->session_manager);
    bf_auto_free char *text = request_finish(&request);
    vw->base.ops = NULL; /* its cancel descriptor is closed already */
    (void)exchange(vw, "Logout", text, LOGOUT_MS, &reply, &ignored);
}

/* --- opening --- */

/* Which version to speak.  A server that has no list is old, or none. */
static int negotiate(struct bf_vmware *vw, struct bf_error *err)
{
    bf_auto_free char *url = bf_xasprintf("%s/sdk/vimServiceVersions.xml", vw->conf.origin);
    struct bf_http_request request = {.method = "GET", .url = url};
    __attribute__((cleanup(response_done))) struct bf_http_response response = {0};
    bf_auto_xmldoc doc = NULL;

    if (bf_http_perform(vw->http, &request, &response, err) < 0)
        return -1;
    if (response.status != 200)
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: HTTP status %d: not a vCenter or ESXi", url,
                       response.status);
    if (bf_xml_parse(response.body, response.body_length, url, &doc, err) < 0)
        return -1;
    BF_VMWARE_EACH(space, xmlDocGetRootElement(doc), "namespace")
    {
        if (!bf_vmware_is(space, "name", "urn:vim25"))
            continue;
        vw->version = bf_vmware_text(space, "version");
        BF_VMWARE_EACH(prior, bf_vmware_child(space, "priorVersions"), "version")
        {
            if (bf_vmware_is(prior, "", WANTED_VERSION)) {
                free(vw->version);
                vw->version = bf_xstrdup(WANTED_VERSION);
            }
        }
    }
    if (!vw->version)
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: no version of urn:vim25 in it", url);
    return 0;
}

static int take_text(xmlNodePtr node, const char *path, char **ret, struct bf_error *err)
{
    *ret = bf_vmware_text(node, path);
    if (*ret)
        return 0;
    return bf_fail(err, BF_E_PROTOCOL, 0, "RetrieveServiceContent: no %s in the answer", path);
}

static int read_content(struct bf_vmware *vw, struct bf_error *err)
{
    bf_auto_vmware_request request = {0};
    bf_auto_vmware_reply reply = {0};

    bf_vmware_request_begin(&request, "RetrieveServiceContent", "ServiceInstance",
                            "ServiceInstance");
    bf_auto_free char *text = request_finish(&request);
    if (exchange(vw, request.method, text, 0, &reply, err) < 0)
        return -1;
    xmlNodePtr content = bf_vmware_child(reply.node, "returnval");
    vw->full_name = bf_vmware_text(content, "about/fullName");
    vw->instance_id = bf_vmware_text(content, "about/instanceUuid");
    vw->is_vcenter = bf_vmware_is(content, "about/apiType", "VirtualCenter");
    vw->authorization = bf_vmware_text(content, "authorizationManager");
    vw->index = bf_vmware_text(content, "searchIndex");
    if (take_text(content, "rootFolder", &vw->root_folder, err) < 0 ||
        take_text(content, "propertyCollector", &vw->collector, err) < 0 ||
        take_text(content, "viewManager", &vw->view_manager, err) < 0 ||
        take_text(content, "sessionManager", &vw->session_manager, err) < 0)
        return -1;
    return 0;
}

static void vmware_free(struct bf_vmware *vw)
{
    bf_http_free(vw->http);
    bf_vmware_conf_done(&vw->conf);
    if (vw->cookie)
        explicit_bzero(vw->cookie, strlen(vw->cookie));
    char *texts[] = {vw->cookie,        vw->version,         vw->full_name,     vw->instance_id,
                     vw->session_key,   vw->root_folder,     vw->collector,     vw->view_manager,
                     vw->index,         vw->session_manager, vw->authorization, vw->fault,
                     vw->choice.machine};
    for (size_t i = 0; i < bf_array_length(texts); i++)
        free(texts[i]);
    json_object_put(vw->network_names);
    json_object_put(vw->exports);
    free(vw);
}

/* An untrusted certificate is shown, so that an admin can compare it and pin it. */
static void show_certificate(const struct bf_vmware *vw, struct bf_error *err)
{
    bf_auto_certificate certificate = {0};
    bf_auto_error ignored = BF_ERROR_INIT;

    if (bf_certificate_fetch(vw->conf.origin, NULL, false, CERTIFICATE_MS, &certificate, &ignored) <
        0)
        return;
    bf_auto_free char *text = bf_xasprintf(
        "the server's certificate: subject %s, thumbprint (SHA-1) %s; if the server's own console "
        "shows the same, pin it by --option fingerprint=%s",
        certificate.subject, certificate.thumbprint, certificate.fingerprint);
    bf_error_evidence(err, text);
}

int bf_vmware_thumbprint(struct bf_vmware *vw, struct bf_error *err)
{
    bf_auto_certificate certificate = {0};
    bool pinned = vw->conf.fingerprint != NULL;

    if (vw->conf.thumbprint)
        return 0;
    if (bf_certificate_fetch(vw->conf.origin, vw->conf.ca_file, !pinned, CERTIFICATE_MS,
                             &certificate, err) < 0)
        return -1;
    if (pinned && !bf_streq(certificate.fingerprint, vw->conf.fingerprint))
        return bf_fail(err, BF_E_TLS, 0, "%s shows a certificate of another key: %s",
                       vw->conf.origin, certificate.fingerprint);
    vw->conf.thumbprint = bf_steal(certificate.thumbprint);
    return 0;
}

int bf_vmware_open(const struct bf_platform_conf *conf, struct bf_platform **ret_platform,
                   struct bf_error *err)
{
    struct bf_vmware *vw = bf_xcalloc(1, sizeof(*vw));

    if (bf_vmware_conf_parse(conf, &vw->conf, err) < 0) {
        vmware_free(vw);
        return -1;
    }
    struct bf_http_conf http = {.ca_file = vw->conf.ca_file,
                                .pin_sha256 = vw->conf.fingerprint,
                                .user_agent = "blockferry/" BF_VERSION,
                                .cancel_fd = -1};
    if (bf_http_new(&http, &vw->http, err) < 0 || negotiate(vw, err) < 0 ||
        read_content(vw, err) < 0 || log_in(vw, err) < 0) {
        if (err->code == BF_E_TLS)
            show_certificate(vw, err);
        vmware_free(vw);
        return -1;
    }
    *ret_platform = &vw->base;
    return 0;
}

void bf_vmware_close(struct bf_platform *platform)
{
    struct bf_vmware *vw = bf_vmware_of(platform);

    if (vw->cookie)
        log_out(vw);
    vmware_free(vw);
}

char *bf_vmware_unescape(const char *name)
{
    static const struct {
        const char *code;
        char plain;
    } codes[] = {{"%2f", '/'}, {"%2F", '/'}, {"%5c", '\\'}, {"%5C", '\\'}, {"%25", '%'}};
    char *text = bf_xstrdup(name);
    char *to = text;

    for (const char *at = name; at && *at;) {
        size_t i = 0;

        while (i < bf_array_length(codes) && !bf_starts_with(at, codes[i].code))
            i++;
        *to++ = i < bf_array_length(codes) ? codes[i].plain : *at;
        at += i < bf_array_length(codes) ? 3 : 1;
    }
    if (to)
        *to = '\0';
    return text;
}
