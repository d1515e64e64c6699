/* SPDX-License-Identifier: Apache-2.0 */
/* Changed block tracking: which areas of a disk differ between a change id and a snapshot.
 *
 * Invariants kept here:
 *   - The answer is asked for page by page until the pages cover the disk; a page without areas
 *     is not the end, and a page that covers nothing is an error (invariant 3 of the service).
 *   - An area behind its page or before the last one is an error, never silently taken; one that
 *     reaches beyond its page makes the page longer.
 *   - A change id is opaque but for one doubt: its last part counts up within an epoch, the part
 *     before the slash.  Another epoch, or a number that went back, is no baseline.
 *
 * "*" asks for the areas in use.  The map is what blockferry-copy reads from a file
 * (blockferry-copy(1), CHANGE MAP).
 */
#pragma once

#include "connectors/vmware/soap.h"

struct bf_vmware_query {
    const char *machine;
    const char *snapshot;
    const char *disk_key;
    const char *change_id;
    uint64_t size_bytes;
};

struct bf_vmware_area {
    uint64_t start, length;
};

struct bf_vmware_areas {
    struct bf_vmware_area *list; /* sorted, merged */
    size_t count, capacity;
    unsigned pages;
};

/* A change id that the server does not accept: BF_E_CHANGE_MAP, fault "FileFault". */
int bf_vmware_changed_areas(struct bf_vmware *vw, const struct bf_vmware_query *query,
                            struct bf_vmware_areas *ret_areas, struct bf_error *err);
void bf_vmware_areas_done(struct bf_vmware_areas *areas);
#define bf_auto_vmware_areas __attribute__((cleanup(bf_vmware_areas_done))) struct bf_vmware_areas
int bf_vmware_areas_write(const struct bf_vmware_areas *areas, const char *path,
                          struct bf_error *err);

/* One page's answer, merged into the list; *offset_io goes on to its end.  For the fuzzer as well.
 */
int bf_vmware_areas_add_page(xmlNodePtr page, uint64_t size_bytes, uint64_t *offset_io,
                             struct bf_vmware_areas *areas, struct bf_error *err);

/* Can `now` (of a snapshot) be counted from `before`?  If not, why: a text, caller frees. */
char *bf_vmware_change_id_doubt(const char *before, const char *now);
