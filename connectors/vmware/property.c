/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/property.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { BATCH = 100 };

xmlNodePtr bf_vmware_property(xmlNodePtr object, const char *name)
{
    BF_VMWARE_EACH(set, object, "propSet")
    {
        if (bf_vmware_is(set, "name", name))
            return bf_vmware_child(set, "val");
    }
    return NULL;
}

/* --- one request, all of its pages --- */

struct asking {
    struct bf_vmware *vw;
    const char *type;
    const char *const *paths;
    bf_vmware_object_fn *fn;
    void *user;
    bool stopped;
    bool no_session; /* some servers say so in the content, not by a fault */
};

static void add_properties(struct bf_vmware_request *request, const char *type,
                           const char *const *paths)
{
    bf_xml_open(&request->xml, "propSet");
    bf_xml_leaf(&request->xml, "type", type);
    for (; *paths; paths++)
        bf_xml_leaf(&request->xml, "pathSet", *paths);
    bf_xml_close(&request->xml);
}

static bool lacks_session(xmlNodePtr object)
{
    BF_VMWARE_EACH(missing, object, "missingSet")
    {
        bf_auto_free char *type = bf_vmware_find(missing, "fault/fault")
                                      ? bf_vmware_type(bf_vmware_find(missing, "fault/fault"))
                                      : NULL;
        if (bf_streq(type, "NotAuthenticated"))
            return true;
    }
    return false;
}

/* Hands out the objects of one page; *ret_token is NULL at the last. */
static int take_page(struct asking *asking, struct bf_vmware_request *request, char **ret_token,
                     struct bf_error *err)
{
    bf_auto_vmware_reply reply = {0};

    if (bf_vmware_send(asking->vw, request, &reply, err) < 0)
        return -1;
    xmlNodePtr result = bf_vmware_child(reply.node, "returnval");
    BF_VMWARE_EACH(object, result, "objects")
    {
        bf_auto_free char *id = bf_vmware_text(object, "obj");

        if (lacks_session(object)) {
            asking->no_session = true;
            return 0;
        }
        if (!asking->stopped && id)
            asking->stopped = asking->fn(id, object, asking->user) != 0;
    }
    *ret_token = bf_vmware_text(result, "token");
    return 0;
}

static int take_all(struct asking *asking, struct bf_vmware_request *request, struct bf_error *err)
{
    bf_auto_free char *token = NULL;

    if (take_page(asking, request, &token, err) < 0)
        return -1;
    while (token && !asking->stopped) {
        bf_auto_vmware_request more = {0};
        char *next = NULL;

        bf_vmware_request_begin(&more, "ContinueRetrievePropertiesEx", "PropertyCollector",
                                asking->vw->collector);
        bf_xml_leaf(&more.xml, "token", token);
        if (take_page(asking, &more, &next, err) < 0)
            return -1;
        free(token);
        token = next;
    }
    return 0;
}

/* --- objects by name --- */

static void build_get(struct asking *asking, struct bf_vmware_request *request, char *const *ids,
                      size_t count)
{
    bf_vmware_request_begin(request, "RetrievePropertiesEx", "PropertyCollector",
                            asking->vw->collector);
    bf_xml_open(&request->xml, "specSet");
    add_properties(request, asking->type, asking->paths);
    for (size_t i = 0; i < count; i++) {
        bf_xml_open(&request->xml, "objectSet");
        bf_vmware_add_ref(request, "obj", asking->type, ids[i]);
        bf_xml_close(&request->xml);
    }
    bf_xml_close(&request->xml);
    bf_xml_empty(&request->xml, "options", NULL);
}

static int get_some(struct asking *asking, char *const *ids, size_t count, struct bf_error *err)
{
    for (int tries = 0; tries < 2; tries++) {
        bf_auto_vmware_request request = {0};

        asking->no_session = false;
        build_get(asking, &request, ids, count);
        if (take_all(asking, &request, err) < 0)
            return -1;
        if (!asking->no_session)
            return 0;
        if (bf_vmware_login_again(asking->vw, err) < 0)
            return -1;
    }
    return bf_fail(err, BF_E_PLATFORM_AUTH, 0, "%s: the session ends as soon as it begins",
                   asking->vw->conf.origin);
}

int bf_vmware_get(struct bf_vmware *vw, const char *type, const char *id, const char *const *paths,
                  bf_vmware_object_fn *fn, void *user, struct bf_error *err)
{
    struct asking asking = {.vw = vw, .type = type, .paths = paths, .fn = fn, .user = user};
    char *ids[] = {bf_xstrdup(id)};
    int rc = get_some(&asking, ids, 1, err);

    free(ids[0]);
    return rc;
}

static int get_batch(struct asking *asking, char *const *ids, size_t count, struct bf_error *err)
{
    if (get_some(asking, ids, count, err) == 0)
        return 0;
    if (!bf_vmware_fault(asking->vw, "ManagedObjectNotFound"))
        return -1;
    /* The fault comes instead of an answer, so none of this batch was handed out yet. */
    for (size_t i = 0; i < count && !asking->stopped; i++) {
        bf_error_clear(err);
        if (get_some(asking, ids + i, 1, err) < 0 &&
            !bf_vmware_fault(asking->vw, "ManagedObjectNotFound"))
            return -1;
    }
    bf_error_clear(err);
    return 0;
}

int bf_vmware_get_many(struct bf_vmware *vw, const char *type, char *const *ids, size_t count,
                       const char *const *paths, bf_vmware_object_fn *fn, void *user,
                       struct bf_error *err)
{
    struct asking asking = {.vw = vw, .type = type, .paths = paths, .fn = fn, .user = user};

    for (size_t at = 0; at < count && !asking.stopped; at += BATCH) {
        if (bf_platform_check_cancel(&vw->base, err) < 0 ||
            get_batch(&asking, ids + at, count - at < BATCH ? count - at : BATCH, err) < 0)
            return -1;
    }
    return 0;
}

/* --- all of a type --- */

struct ids {
    char **list;
    size_t count, capacity;
};

static int take_id(const char *id, xmlNodePtr object, void *user)
{
    struct ids *ids = user;

    (void)object;
    bf_xgrow(&ids->list, &ids->capacity, ids->count + 1, sizeof(*ids->list));
    ids->list[ids->count++] = bf_xstrdup(id);
    return 0;
}

static void ids_done(struct ids *ids)
{
    for (size_t i = 0; i < ids->count; i++)
        free(ids->list[i]);
    free(ids->list);
    *ids = (struct ids){0};
}

static int create_view(struct bf_vmware *vw, const char *type, char **ret_view,
                       struct bf_error *err)
{
    bf_auto_vmware_request request = {0};
    bf_auto_vmware_reply reply = {0};

    bf_vmware_request_begin(&request, "CreateContainerView", "ViewManager", vw->view_manager);
    bf_vmware_add_ref(&request, "container", "Folder", vw->root_folder);
    bf_xml_leaf(&request.xml, "type", type);
    bf_xml_leaf(&request.xml, "recursive", "true");
    if (bf_vmware_send(vw, &request, &reply, err) < 0)
        return -1;
    *ret_view = bf_vmware_text(reply.node, "returnval");
    return *ret_view ? 0 : bf_fail(err, BF_E_PROTOCOL, 0, "CreateContainerView: no view");
}

static void destroy_view(struct bf_vmware *vw, const char *view)
{
    bf_auto_error ignored = BF_ERROR_INIT;
    bf_auto_vmware_request request = {0};
    bf_auto_vmware_reply reply = {0};

    bf_vmware_request_begin(&request, "DestroyView", "ContainerView", view);
    (void)bf_vmware_send(vw, &request, &reply, &ignored); /* it ends with the session */
}

static void build_list(struct bf_vmware_request *request, const struct bf_vmware *vw,
                       const char *type, const char *view)
{
    static const char *const name[] = {"name", NULL};

    bf_vmware_request_begin(request, "RetrievePropertiesEx", "PropertyCollector", vw->collector);
    bf_xml_open(&request->xml, "specSet");
    add_properties(request, type, name);
    bf_xml_open(&request->xml, "objectSet");
    bf_vmware_add_ref(request, "obj", "ContainerView", view);
    bf_xml_leaf(&request->xml, "skip", "true");
    bf_xml_open(&request->xml, "selectSet");
    bf_xml_attr(&request->xml, "xsi:type", "TraversalSpec");
    bf_xml_leaf(&request->xml, "name", "view");
    bf_xml_leaf(&request->xml, "type", "ContainerView");
    bf_xml_leaf(&request->xml, "path", "view");
    bf_xml_leaf(&request->xml, "skip", "false");
    bf_xml_close(&request->xml);
    bf_xml_close(&request->xml);
    bf_xml_close(&request->xml);
    bf_xml_open(&request->xml, "options");
    bf_xml_leaf(&request->xml, "maxObjects", "500");
    bf_xml_close(&request->xml);
}

/* The view lives in the session: when that was a new one meanwhile, all begins anew, once. */
static int list_ids(struct bf_vmware *vw, const char *type, struct ids *ids, struct bf_error *err)
{
    for (int tries = 0;; tries++) {
        struct asking asking = {.vw = vw, .type = type, .fn = take_id, .user = ids};
        bf_auto_vmware_request request = {0};
        bf_auto_free char *view = NULL;

        if (create_view(vw, type, &view, err) < 0)
            return -1;
        unsigned logins = vw->logins;
        build_list(&request, vw, type, view);
        int rc = take_all(&asking, &request, err);
        if (rc == 0 && !asking.no_session) {
            destroy_view(vw, view);
            return 0;
        }
        if (tries > 0 || (rc < 0 && vw->logins == logins))
            return rc < 0 ? -1
                          : bf_fail(err, BF_E_PLATFORM_AUTH, 0,
                                    "%s: the session ends as soon as it begins", vw->conf.origin);
        ids_done(ids);
        bf_error_clear(err);
        if (asking.no_session && bf_vmware_login_again(vw, err) < 0)
            return -1;
    }
}

int bf_vmware_list(struct bf_vmware *vw, const char *type, const char *const *paths,
                   bf_vmware_object_fn *fn, void *user, struct bf_error *err)
{
    __attribute__((cleanup(ids_done))) struct ids ids = {0};

    if (list_ids(vw, type, &ids, err) < 0)
        return -1;
    return bf_vmware_get_many(vw, type, ids.list, ids.count, paths, fn, user, err);
}
