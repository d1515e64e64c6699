/* SPDX-License-Identifier: Apache-2.0 */
/* A page of changed areas, and the devices of a machine, as a server may send them. */
#include "base/xml.h"
#include "connectors/vmware/cbt.h"
#include "connectors/vmware/machine.h"
#include "tests/fuzz/fuzz.h"

#define DISK_BYTES (1ULL << 30)

static void pages(xmlNodePtr body)
{
    bf_auto_vmware_areas areas = {0};
    bf_auto_error err = BF_ERROR_INIT;
    uint64_t offset = 0, before;

    BF_VMWARE_EACH(page, body, "returnval")
    {
        before = offset;
        if (offset >= DISK_BYTES ||
            bf_vmware_areas_add_page(page, DISK_BYTES, &offset, &areas, &err) < 0)
            break;
        FUZZ_CHECK(offset > before && offset <= DISK_BYTES);
    }
    for (size_t i = 0; i < areas.count; i++) {
        FUZZ_CHECK(areas.list[i].length > 0);
        FUZZ_CHECK(areas.list[i].start + areas.list[i].length <= DISK_BYTES);
        FUZZ_CHECK(i == 0 ||
                   areas.list[i].start > areas.list[i - 1].start + areas.list[i - 1].length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_xmldoc doc = NULL;
    struct bf_vmware_machine *machine;

    if (bf_xml_parse((const char *)data, size, "fuzz", &doc, &err) < 0)
        return 0;
    pages(xmlDocGetRootElement(doc));
    machine = calloc(1, sizeof(*machine));
    FUZZ_CHECK(machine);
    machine->machine = bf_machine_new();
    bf_vmware_devices_parse(xmlDocGetRootElement(doc), machine);
    FUZZ_CHECK(machine->disk_count == machine->machine->disk_count);
    bf_vmware_machine_free(machine);
    return 0;
}
