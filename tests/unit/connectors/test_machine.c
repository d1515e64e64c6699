/* SPDX-License-Identifier: Apache-2.0 */
/* Machine descriptions and findings as JSON. */
#include "base/json.h"
#include "base/text.h"
#include "connectors/endpoint_spec.h"
#include "connectors/finding.h"
#include "connectors/machine.h"
#include "tests/unit/tap.h"

static const char good[] =
    "{\"id\":\"u\",\"name\":\"Büro\",\"power\":\"on\",\"cpus\":2,\"memory_bytes\":1024,"
    "\"firmware\":\"uefi-secure\",\"arch\":\"x86_64\",\"chipset\":\"q35\",\"guest_os\":null,"
    "\"agent\":true,\"disks\":[{\"key\":\"sda\",\"identity\":\"/a\",\"bus\":\"sata\",\"format\":"
    "\"qcow2\",\"source\":\"/a\",\"size_bytes\":4096,\"boot_order\":1,\"read_only\":false,"
    "\"shared\":true,\"removable\":false}],\"nics\":[{\"mac\":\"52:54:00:00:00:01\",\"network\":"
    "\"lan\",\"model\":null,\"addresses\":[\"10.0.0.1\",\"fe80::1\"]},{\"mac\":null,\"network\":"
    "null,\"model\":\"e1000\",\"addresses\":null}]}";

static const struct {
    const char *text;
    const char *names;
} bad[] = {
    {"{}", "id"},
    {"{\"id\":1}", "id"},
    {"{\"id\":\"u\",\"name\":\"n\",\"cpus\":99999999,\"memory_bytes\":1,\"disks\":[],\"nics\":[]}",
     "cpus"},
    {"{\"id\":\"u\",\"name\":\"n\",\"cpus\":1,\"memory_bytes\":-1,\"disks\":[],\"nics\":[]}",
     "memory_bytes"},
    {"{\"id\":\"u\",\"name\":\"n\",\"cpus\":1,\"memory_bytes\":1,\"disks\":[{}],\"nics\":[]}",
     "disks[0].key"},
    {"{\"id\":\"u\",\"name\":\"n\",\"cpus\":1,\"memory_bytes\":1,\"disks\":[],\"nics\":[{"
     "\"addresses\":[1]}]}",
     "nics[0].addresses[0]"},
    {"{\"id\":\"u\",\"name\":\"n\",\"cpus\":1,\"memory_bytes\":1,\"firmware\":\"coreboot\","
     "\"disks\":[],\"nics\":[]}",
     "coreboot"},
};

static void test_machine(void)
{
    struct bf_error err = BF_ERROR_INIT;
    struct bf_machine *machine = NULL;
    struct json_object *json = NULL;

    ok(bf_json_parse(good, sizeof(good) - 1, &json, &err) == 0 &&
           bf_machine_from_json(json, &machine, &err) == 0,
       "a machine is read");
    json_object_put(json);
    json = bf_machine_to_json(machine);
    is_string(bf_json_text(json), good, "and written the same");
    json_object_put(json);
    ok(bf_machine_disk(machine, "sda") == &machine->disks[0], "a disk by its key");
    ok(!bf_machine_disk(machine, "sdb"), "no disk of another key");
    bf_machine_free(machine);
    bf_machine_free(NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        machine = NULL;
        ok(bf_json_parse(bad[i].text, strlen(bad[i].text), &json, &err) == 0, "bad %zu: JSON", i);
        ok(bf_machine_from_json(json, &machine, &err) == -1 && !machine, "bad %zu: refused", i);
        ok(err.message && strstr(err.message, bad[i].names), "bad %zu: names %s: %s", i,
           bad[i].names, err.message ? err.message : "");
        bf_error_clear(&err);
        json_object_put(json);
    }
}

static void test_findings(void)
{
    struct bf_findings findings = {0};

    bf_findings_add(&findings, BF_SEVERITY_WARN, "x-y", NULL, "1", "2", "why", "fix");
    ok(!bf_findings_block(&findings), "a warning does not block");
    bf_findings_add(&findings, BF_SEVERITY_BLOCK, "x-z", "sda", "1", "2", "why", "fix");
    ok(bf_findings_block(&findings), "a block does");
    struct json_object *json = bf_findings_to_json(&findings);
    is_string(bf_json_text(json),
              "[{\"id\":\"x-y\",\"severity\":\"warn\",\"subject\":null,\"found\":\"1\",\"needed\":"
              "\"2\",\"why\":\"why\",\"fix\":\"fix\"},{\"id\":\"x-z\",\"severity\":\"block\","
              "\"subject\":\"sda\",\"found\":\"1\",\"needed\":\"2\",\"why\":\"why\",\"fix\":"
              "\"fix\"}]",
              "findings as JSON");
    json_object_put(json);
    bf_findings_done(&findings);
}

int main(void)
{
    test_machine();
    test_findings();
    is_string(bf_map_kind_to_string(BF_MAP_BITMAP), "bitmap", "name of a map kind");
    is_string(bf_map_kind_to_string(BF_MAP_KIND_MAX), "unknown", "name of none");
    ok(bf_power_from_string("paused") == BF_POWER_PAUSED, "power from text");
    ok(bf_power_from_string("half") == BF_POWER_UNKNOWN, "unknown power");
    return done();
}
