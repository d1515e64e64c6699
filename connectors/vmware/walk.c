/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/walk.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"

#define XSI "http://www.w3.org/2001/XMLSchema-instance"

static bool named(xmlNodePtr node, const char *name, size_t length)
{
    const char *own = (const char *)node->name;

    return node->type == XML_ELEMENT_NODE &&
           (!name || (strncmp(own, name, length) == 0 && own[length] == '\0'));
}

static xmlNodePtr first(xmlNodePtr node, const char *name, size_t length)
{
    while (node && !named(node, name, length))
        node = node->next;
    return node;
}

xmlNodePtr bf_vmware_child(xmlNodePtr node, const char *name)
{
    return node ? first(node->children, name, name ? strlen(name) : 0) : NULL;
}

xmlNodePtr bf_vmware_next(xmlNodePtr node, const char *name)
{
    return first(node->next, name, name ? strlen(name) : 0);
}

xmlNodePtr bf_vmware_find(xmlNodePtr node, const char *path)
{
    while (node && *path) {
        size_t length = strcspn(path, "/");

        node = first(node->children, path, length);
        path += length + (path[length] == '/');
    }
    return node;
}

char *bf_vmware_text(xmlNodePtr node, const char *path)
{
    xmlNodePtr found = bf_vmware_find(node, path);
    xmlChar *content = found ? xmlNodeGetContent(found) : NULL;
    char *text = bf_xstrdup((const char *)content);

    xmlFree(content);
    return text;
}

char *bf_vmware_reference_type(xmlNodePtr reference)
{
    xmlChar *type = reference ? xmlGetNoNsProp(reference, (const xmlChar *)"type") : NULL;
    char *copy = bf_xstrdup((const char *)type);

    xmlFree(type);
    return copy;
}

bool bf_vmware_is(xmlNodePtr node, const char *path, const char *text)
{
    bf_auto_free char *found = bf_vmware_text(node, path);

    return bf_streq(found, text);
}

bool bf_vmware_true(xmlNodePtr node, const char *path)
{
    return bf_vmware_is(node, path, "true") || bf_vmware_is(node, path, "1");
}

uint64_t bf_vmware_number(xmlNodePtr node, const char *path, uint64_t otherwise)
{
    bf_auto_free char *text = bf_vmware_text(node, path);
    bf_auto_error ignored = BF_ERROR_INIT;
    uint64_t value = otherwise;

    if (text && bf_parse_u64(text, &value, &ignored) < 0)
        return otherwise;
    return value;
}

char *bf_vmware_type(xmlNodePtr node)
{
    xmlChar *type = xmlGetNsProp(node, (const xmlChar *)"type", (const xmlChar *)XSI);
    const char *colon = type ? strchr((const char *)type, ':') : NULL;
    char *text = bf_xstrdup(colon ? colon + 1 : (const char *)type);

    xmlFree(type);
    return text;
}
