/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/cbt.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

#define QUERY_MS 300000 /* a large disk's map is read from the datastore */

void bf_vmware_areas_done(struct bf_vmware_areas *areas)
{
    free(areas->list);
    *areas = (struct bf_vmware_areas){0};
}

/* The answer sizes the list: no abort when memory is out. */
static int add_area(struct bf_vmware_areas *areas, uint64_t start, uint64_t length,
                    struct bf_error *err)
{
    struct bf_vmware_area *last = areas->count ? &areas->list[areas->count - 1] : NULL;

    if (last && start < last->start + last->length)
        return bf_fail(err, BF_E_PROTOCOL, 0,
                       "QueryChangedDiskAreas: area at %llu is not after the one before",
                       (unsigned long long)start);
    if (last && start == last->start + last->length) {
        last->length += length;
        return 0;
    }
    if (areas->count == areas->capacity) {
        size_t capacity = areas->capacity ? areas->capacity * 2 : 256;
        struct bf_vmware_area *grown = realloc(areas->list, capacity * sizeof(*grown));

        if (!grown)
            return bf_fail(err, BF_E_NO_MEMORY, 0, "change map of %zu areas", capacity);
        areas->list = grown;
        areas->capacity = capacity;
    }
    areas->list[areas->count++] = (struct bf_vmware_area){.start = start, .length = length};
    return 0;
}

int bf_vmware_areas_add_page(xmlNodePtr page, uint64_t size_bytes, uint64_t *offset_io,
                             struct bf_vmware_areas *areas, struct bf_error *err)
{
    uint64_t start = bf_vmware_number(page, "startOffset", UINT64_MAX);
    uint64_t length = bf_vmware_number(page, "length", 0);

    if (start != *offset_io || length == 0)
        return bf_fail(err, BF_E_PROTOCOL, 0,
                       "QueryChangedDiskAreas: asked from %llu, the page covers %llu bytes at %llu",
                       (unsigned long long)*offset_io, (unsigned long long)length,
                       (unsigned long long)start);
    if (length > size_bytes - start)
        length = size_bytes - start; /* capacity rounded up */
    BF_VMWARE_EACH(area, page, "changedArea")
    {
        uint64_t at = bf_vmware_number(area, "start", UINT64_MAX);
        uint64_t size = bf_vmware_number(area, "length", 0);

        /* What lies between the page's end and an area behind it was not looked at. */
        if (at < start || at > start + length || at >= size_bytes || size == 0 ||
            size > UINT64_MAX - at)
            return bf_fail(err, BF_E_PROTOCOL, 0,
                           "QueryChangedDiskAreas: area of %llu bytes at %llu, page at %llu",
                           (unsigned long long)size, (unsigned long long)at,
                           (unsigned long long)start);
        if (size > size_bytes - at)
            size = size_bytes - at;
        if (add_area(areas, at, size, err) < 0)
            return -1;
        /* An area may reach beyond what the page says it covers; it is then covered as well. */
        if (at + size > start + length)
            length = at + size - start;
    }
    areas->pages++;
    *offset_io = start + length;
    return 0;
}

static int query_page(struct bf_vmware *vw, const struct bf_vmware_query *query,
                      uint64_t *offset_io, struct bf_vmware_areas *areas, struct bf_error *err)
{
    bf_auto_free char *offset = bf_xasprintf("%llu", (unsigned long long)*offset_io);
    bf_auto_vmware_request request = {0};
    bf_auto_vmware_reply reply = {0};

    bf_vmware_request_begin(&request, "QueryChangedDiskAreas", "VirtualMachine", query->machine);
    bf_vmware_add_ref(&request, "snapshot", "VirtualMachineSnapshot", query->snapshot);
    bf_xml_leaf(&request.xml, "deviceKey", query->disk_key);
    bf_xml_leaf(&request.xml, "startOffset", offset);
    bf_xml_leaf(&request.xml, "changeId", query->change_id);
    request.timeout_ms = QUERY_MS;
    if (bf_vmware_send(vw, &request, &reply, err) < 0)
        return -1;
    return bf_vmware_areas_add_page(bf_vmware_child(reply.node, "returnval"), query->size_bytes,
                                    offset_io, areas, err);
}

int bf_vmware_changed_areas(struct bf_vmware *vw, const struct bf_vmware_query *query,
                            struct bf_vmware_areas *ret_areas, struct bf_error *err)
{
    bf_auto_vmware_areas areas = {0};
    uint64_t offset = 0;

    while (offset < query->size_bytes) {
        if (bf_platform_check_cancel(&vw->base, err) < 0 ||
            query_page(vw, query, &offset, &areas, err) < 0)
            return bf_fail_in(err, "disk %s", query->disk_key);
    }
    *ret_areas = areas;
    areas = (struct bf_vmware_areas){0};
    return 0;
}

int bf_vmware_areas_write(const struct bf_vmware_areas *areas, const char *path,
                          struct bf_error *err)
{
    bf_auto_buf text = {0};

    for (size_t i = 0; i < areas->count; i++)
        bf_buf_addf(&text, "{\"offset\":%llu,\"length\":%llu}\n",
                    (unsigned long long)areas->list[i].start,
                    (unsigned long long)areas->list[i].length);
    return bf_file_replace(path, text.text ? text.text : "", text.length, 0600, err);
}

/* "52 de c0 ../17": the epoch's length, and the number. */
static bool split(const char *id, size_t *ret_epoch, uint64_t *ret_number)
{
    const char *slash = id ? strrchr(id, '/') : NULL;
    bf_auto_error ignored = BF_ERROR_INIT;

    if (!slash || bf_parse_u64(slash + 1, ret_number, &ignored) < 0)
        return false;
    *ret_epoch = (size_t)(slash - id);
    return true;
}

char *bf_vmware_change_id_doubt(const char *before, const char *now)
{
    size_t epoch_before = 0, epoch_now = 0;
    uint64_t number_before = 0, number_now = 0;

    if (!before)
        return bf_xstrdup("the last round has no change id of it");
    if (!now)
        return bf_xstrdup("the snapshot has no change id of it: change tracking does not work");
    if (!split(before, &epoch_before, &number_before) || !split(now, &epoch_now, &number_now))
        return bf_streq(before, now) ? bf_xstrdup("its change id has not moved on") : NULL;
    if (epoch_before != epoch_now || strncmp(before, now, epoch_now) != 0)
        return bf_xstrdup("change tracking was reset since the last round");
    if (number_now <= number_before)
        return bf_xasprintf("its change id went from %llu to %llu: the machine was reverted",
                            (unsigned long long)number_before, (unsigned long long)number_now);
    return NULL;
}
