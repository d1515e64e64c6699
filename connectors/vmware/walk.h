/* SPDX-License-Identifier: Apache-2.0 */
/* Reading vSphere's answers: by local names, as every server chooses its own prefixes.
 *
 * A path is names with slashes between, below a node.  What is unset is simply absent in an
 * answer, so every reader has a value for that.  Types of elements are told by xsi:type, whose
 * prefix is the server's choice as well.
 */
#pragma once

#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

/* The first element at the path; NULL: none. */
xmlNodePtr bf_vmware_find(xmlNodePtr node, const char *path);
/* First child element of this name (NULL: any), and the next of the same name after one. */
xmlNodePtr bf_vmware_child(xmlNodePtr node, const char *name);
xmlNodePtr bf_vmware_next(xmlNodePtr node, const char *name);
/* Its text, caller frees; NULL: no such element. "" is the node itself. */
char *bf_vmware_text(xmlNodePtr node, const char *path);
/* The type of a reference to a managed object, caller frees; NULL: no node, or it says none. */
char *bf_vmware_reference_type(xmlNodePtr reference);
bool bf_vmware_is(xmlNodePtr node, const char *path, const char *text);
bool bf_vmware_true(xmlNodePtr node, const char *path);
/* Absent or not a number: `otherwise`. */
uint64_t bf_vmware_number(xmlNodePtr node, const char *path, uint64_t otherwise);
/* xsi:type without its prefix, caller frees; NULL: none. */
char *bf_vmware_type(xmlNodePtr node);

#define BF_VMWARE_EACH(at, parent, name)                                                           \
    for (xmlNodePtr at = bf_vmware_child((parent), (name)); at; at = bf_vmware_next(at, (name)))
