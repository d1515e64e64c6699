/* SPDX-License-Identifier: Apache-2.0 */
/* Properties of objects: RetrievePropertiesEx, paged as the server wants.
 *
 * A listing first asks which objects there are (a view and one short property), then for their
 * properties in batches of our own: an answer's size is bounded whether the server pages or not.
 * One object that is gone fails a whole batch; the others are then asked for one by one.
 */
#pragma once

#include "connectors/vmware/soap.h"

/* Called per object with its <objects> element; bf_vmware_property() finds values.  Non-zero
 * stops, with success. */
typedef int bf_vmware_object_fn(const char *id, xmlNodePtr object, void *user);

/* The value's element, NULL: unset. */
xmlNodePtr bf_vmware_property(xmlNodePtr object, const char *name);

/* One object.  Gone: BF_E_MACHINE_GONE, and bf_vmware_fault() "ManagedObjectNotFound". */
int bf_vmware_get(struct bf_vmware *vw, const char *type, const char *id, const char *const *paths,
                  bf_vmware_object_fn *fn, void *user, struct bf_error *err);
/* Several, in batches; those that are gone are left out. */
int bf_vmware_get_many(struct bf_vmware *vw, const char *type, char *const *ids, size_t count,
                       const char *const *paths, bf_vmware_object_fn *fn, void *user,
                       struct bf_error *err);
/* All objects of a type, by view. */
int bf_vmware_list(struct bf_vmware *vw, const char *type, const char *const *paths,
                   bf_vmware_object_fn *fn, void *user, struct bf_error *err);
