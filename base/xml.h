/* SPDX-License-Identifier: Apache-2.0 */
/* XML in (libxml2, no network, no entities, size limited) and out (escaped).
 *
 * Reading is by XPath relative to a node; writing by a small builder, so that a
 * name with "<" in it can never become markup.
 */
#pragma once

#include <libxml/tree.h>
#include <libxml/xpath.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

/* Parse untrusted text.  `what` names it in errors.  Free by bf_xml_free(). */
int bf_xml_parse(const char *text, size_t length, const char *what, xmlDocPtr *ret_doc,
                 struct bf_error *err);
void bf_xml_free(xmlDocPtr doc);

/* First match's text; NULL if none.  Caller frees.  `node` NULL = the document: "/a/b" and "a/b"
 * both begin at its top element a. */
char *bf_xml_text(xmlDocPtr doc, xmlNodePtr node, const char *xpath);
/* As above; missing or empty is BF_E_PROTOCOL naming the path. */
int bf_xml_need_text(xmlDocPtr doc, xmlNodePtr node, const char *xpath, char **ret_text,
                     struct bf_error *err);
int bf_xml_u64(xmlDocPtr doc, xmlNodePtr node, const char *xpath, uint64_t *ret_value,
               struct bf_error *err);
bool bf_xml_has(xmlDocPtr doc, xmlNodePtr node, const char *xpath);
/* All matching element nodes, in document order; ret_nodes is freed by free(). */
size_t bf_xml_nodes(xmlDocPtr doc, xmlNodePtr node, const char *xpath, xmlNodePtr **ret_nodes);

/* Builder.  Elements nest by open/close; text and attribute values are escaped. */
struct bf_xml_out {
    struct bf_buf buf;
    bool tag_open; /* the start tag has not got its ">" yet */
    char *stack[32];
    unsigned depth;
};
void bf_xml_open(struct bf_xml_out *out, const char *name);
void bf_xml_attr(struct bf_xml_out *out, const char *name, const char *value);
void bf_xml_attrf(struct bf_xml_out *out, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void bf_xml_content(struct bf_xml_out *out, const char *text);
void bf_xml_close(struct bf_xml_out *out);
/* <name>text</name>; nothing if text is NULL. */
void bf_xml_leaf(struct bf_xml_out *out, const char *name, const char *text);
/* <name a="v" ... />: pairs of attribute and value, ended by NULL; a NULL value skips its pair. */
void bf_xml_empty(struct bf_xml_out *out, const char *name, ...) __attribute__((sentinel));
/* The finished text; the builder is reset.  Caller frees. */
char *bf_xml_finish(struct bf_xml_out *out);
void bf_xml_out_done(struct bf_xml_out *out);
#define bf_auto_xml __attribute__((cleanup(bf_xml_out_done))) struct bf_xml_out

static inline void bf_xml_free_at(const xmlDocPtr *at)
{
    bf_xml_free(*at);
}
#define bf_auto_xmldoc __attribute__((cleanup(bf_xml_free_at))) xmlDocPtr
