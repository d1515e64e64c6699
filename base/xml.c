/* SPDX-License-Identifier: Apache-2.0 */
/* XML in: a parser for untrusted text, and XPath. */
#include "base/xml.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/xpathInternals.h>

#include "base/cleanup.h"

#define SIZE_MAX_BYTES ((size_t)64 * 1024 * 1024)

/* No XML_PARSE_HUGE: libxml2's own limits (depth 256, text of 10 MB) stay.  No XML_PARSE_NOENT,
 * _DTDLOAD, _DTDATTR, _XINCLUDE: nothing is loaded or replaced. */
#define PARSE_OPTIONS                                                                              \
    (XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA |               \
     XML_PARSE_COMPACT)

static pthread_once_t parser_once = PTHREAD_ONCE_INIT;

/* A document type brings entities, and no platform of ours sends one: the parser is stopped there,
 * before any declaration is read. */
static void refuse_doctype(void *user, const xmlChar *name, const xmlChar *external_id,
                           const xmlChar *system_id)
{
    xmlParserCtxtPtr ctxt = user;
    bool *refused = ctxt->_private;

    (void)name;
    (void)external_id;
    (void)system_id;
    *refused = true;
    xmlStopParser(ctxt);
}

static int fail_parse(xmlParserCtxtPtr ctxt, const char *what, struct bf_error *err)
{
    const xmlError *error = xmlCtxtGetLastError(ctxt);

    if (error && error->code == XML_ERR_NO_MEMORY)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "%s", what);
    if (!error || !error->message)
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: not XML", what);
    return bf_fail(err, BF_E_PROTOCOL, 0, "%s: not XML: line %d: %.*s", what, error->line,
                   (int)strcspn(error->message, "\n"), error->message);
}

int bf_xml_parse(const char *text, size_t length, const char *what, xmlDocPtr *ret_doc,
                 struct bf_error *err)
{
    xmlParserCtxtPtr ctxt;
    bool refused = false;
    int result = -1;
    xmlDocPtr doc;

    if (length > SIZE_MAX_BYTES)
        return bf_fail(err, BF_E_TOO_LARGE, 0, "%s: XML of %zu bytes, at most %zu are taken", what,
                       length, SIZE_MAX_BYTES);
    pthread_once(&parser_once, xmlInitParser);
    ctxt = xmlNewParserCtxt();
    if (!ctxt)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "%s", what);
    ctxt->_private = &refused;
    ctxt->sax->internalSubset = refuse_doctype;
    doc = xmlCtxtReadMemory(ctxt, text, (int)length, NULL, NULL, PARSE_OPTIONS);
    if (refused) {
        bf_fail(err, BF_E_PROTOCOL, 0, "%s: XML with a document type (DOCTYPE) is refused", what);
        xmlFreeDoc(doc);
    } else if (!doc) {
        fail_parse(ctxt, what, err);
    } else {
        *ret_doc = doc;
        result = 0;
    }
    xmlFreeParserCtxt(ctxt);
    return result;
}

void bf_xml_free(xmlDocPtr doc)
{
    xmlFreeDoc(doc);
}

/* libxml2 2.9 declares the error without const, later versions with it; the cast is for both. */
static void be_quiet(void *user, xmlErrorPtr error)
{
    (void)user;
    (void)error;
}

static xmlXPathObjectPtr evaluate(xmlDocPtr doc, xmlNodePtr node, const char *xpath)
{
    xmlXPathContextPtr context = xmlXPathNewContext(doc);
    xmlXPathObjectPtr result;

    if (!context)
        abort(); /* as bf_xcalloc() */
    context->error = be_quiet;
    context->node = node ? node : (xmlNodePtr)doc;
    result = xmlXPathEvalExpression((const xmlChar *)xpath, context);
    xmlXPathFreeContext(context);
    return result;
}

static char *take_xml_string(xmlChar *text)
{
    char *copy = bf_xstrdup((const char *)text);

    xmlFree(text);
    return copy;
}

char *bf_xml_text(xmlDocPtr doc, xmlNodePtr node, const char *xpath)
{
    xmlXPathObjectPtr found = evaluate(doc, node, xpath);
    char *text = NULL;

    if (!found)
        return NULL;
    if (found->type != XPATH_NODESET)
        text = take_xml_string(xmlXPathCastToString(found)); /* string(), count() and the like */
    else if (!xmlXPathNodeSetIsEmpty(found->nodesetval))
        text = take_xml_string(xmlNodeGetContent(found->nodesetval->nodeTab[0]));
    xmlXPathFreeObject(found);
    return text;
}

int bf_xml_need_text(xmlDocPtr doc, xmlNodePtr node, const char *xpath, char **ret_text,
                     struct bf_error *err)
{
    bf_auto_free char *text = bf_xml_text(doc, node, xpath);

    if (!text || !*text)
        return bf_fail(err, BF_E_PROTOCOL, 0, "the XML has no %s", xpath);
    *ret_text = bf_steal(text);
    return 0;
}

int bf_xml_u64(xmlDocPtr doc, xmlNodePtr node, const char *xpath, uint64_t *ret_value,
               struct bf_error *err)
{
    bf_auto_free char *text = NULL;
    bf_auto_error trouble = BF_ERROR_INIT;
    char *start;
    size_t length;

    if (bf_xml_need_text(doc, node, xpath, &text, err) < 0)
        return -1;
    start = text + strspn(text, " \t\r\n");
    length = strlen(start);
    while (length && strchr(" \t\r\n", start[length - 1]))
        start[--length] = '\0';
    if (bf_parse_u64(start, ret_value, &trouble) < 0)
        return bf_fail(err, BF_E_PROTOCOL, 0, "%s: %s", xpath, trouble.message);
    return 0;
}

bool bf_xml_has(xmlDocPtr doc, xmlNodePtr node, const char *xpath)
{
    xmlXPathObjectPtr found = evaluate(doc, node, xpath);
    bool has = found && xmlXPathCastToBoolean(found);

    xmlXPathFreeObject(found);
    return has;
}

size_t bf_xml_nodes(xmlDocPtr doc, xmlNodePtr node, const char *xpath, xmlNodePtr **ret_nodes)
{
    xmlXPathObjectPtr found = evaluate(doc, node, xpath);
    xmlNodeSetPtr set = found && found->type == XPATH_NODESET ? found->nodesetval : NULL;
    int total = set ? set->nodeNr : 0;
    xmlNodePtr *nodes = bf_xcalloc((size_t)total + 1, sizeof(xmlNodePtr));
    size_t count = 0;

    if (set)
        xmlXPathNodeSetSort(set);
    for (int i = 0; i < total; i++)
        if (set->nodeTab[i]->type == XML_ELEMENT_NODE)
            nodes[count++] = set->nodeTab[i];
    xmlXPathFreeObject(found);
    *ret_nodes = nodes;
    return count;
}
