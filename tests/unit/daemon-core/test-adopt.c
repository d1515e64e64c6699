/* SPDX-License-Identifier: Apache-2.0 */
/* What an adoption asks of every disk, on the fake platform: a volume of this machine alone, whose
 * place the source can tell. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/connector.h"
#include "daemon/adopt.h"
#include "daemon/context.h"
#include "fake.h"
#include "tap.h"

static struct bf_platform *platform;
static struct bf_machine *machine; /* with disks sda and sdb */

static void begin(void)
{
    bf_auto_free char *url = bf_xasprintf("%s/fake", bench_directory());
    bf_auto_error err = BF_ERROR_INIT;
    const struct bf_platform_conf conf = {
        .name = "p", .type = "fake", .url = url, .work_directory = "/tmp"};

    ok(bf_platform_open(&conf, &platform, &err) == 0 &&
           bf_platform_machine(platform, "fake", &machine, &err) == 0 && machine->disk_count == 2,
       "a machine of two disks");
}

/* "id subject severity;..." of the findings, "error ID" if there is one. */
static char *findings(enum bf_transfer transfer, const char *map)
{
    bf_auto_policy policy = {0};
    bf_auto_json *mapping = bf_context_parse(map);
    bf_auto_findings found = {0};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_buf text = {0};

    bf_policy_init(&policy);
    policy.transfer = transfer;
    if (bf_adopt_precheck(platform, platform, machine, &policy, mapping, &found, &err) != 0)
        return bf_xasprintf("error %s", bf_error_id(err.code));
    for (size_t i = 0; i < found.count; i++)
        bf_buf_addf(&text, "%s %s %s;", found.items[i].id,
                    found.items[i].subject ? found.items[i].subject : "-",
                    bf_severity_to_string(found.items[i].severity));
    return bf_xstrdup(text.length ? text.text : "");
}

static void expect(enum bf_transfer transfer, const char *map, const char *wanted, const char *what)
{
    bf_auto_free char *found = findings(transfer, map);

    is_string(found, wanted, "%s", what);
}

static void test_shared(void)
{
    expect(BF_TRANSFER_ADOPT, "{}", "", "disks of the machine alone, with a place");
    machine->disks[1].shared = true;
    expect(BF_TRANSFER_ADOPT, "{}", "adopt-shared-disk sdb block;", "other machines may use it");
    expect(BF_TRANSFER_ADOPT, "{\"disks\":[\"sda\"]}", "", "one that stays behind may be shared");
    expect(BF_TRANSFER_COPY, "{}", "", "and one that is copied");
    machine->disks[1].removable = true;
    expect(BF_TRANSFER_ADOPT, "{}", "", "and a medium that can be taken out");
    machine->disks[1].shared = machine->disks[1].removable = false;
}

static void test_place(void)
{
    fake_fail("locate_disk", BF_E_DISK_UNSUPPORTED, 1);
    expect(BF_TRANSFER_ADOPT, "{}", "adopt-no-place sda block;", "the source knows no place of it");
    fake_fail("locate_disk", BF_E_PLATFORM_UNSUPPORTED, 2);
    expect(BF_TRANSFER_ADOPT, "{}", "adopt-no-place sda block;adopt-no-place sdb block;",
           "or of none");
    fake_fail("locate_disk", BF_E_PLATFORM_UNREACHABLE, 1);
    expect(BF_TRANSFER_ADOPT, "{}", "error platform-unreachable",
           "a source that does not answer is no finding");
    fake_fail("locate_disk", BF_E_CANCELLED, 1);
    expect(BF_TRANSFER_ADOPT, "{}", "error cancelled", "nor is a cancel");
    machine->disks[0].shared = true;
    fake_fail("locate_disk", BF_E_DISK_UNSUPPORTED, 1);
    expect(BF_TRANSFER_ADOPT, "{}", "adopt-shared-disk sda block;adopt-no-place sda block;",
           "both are told");
}

int main(void)
{
    diag("%s", bench_directory());
    begin();
    test_shared();
    test_place();
    bf_machine_free(machine);
    bf_platform_close(platform);
    bench_remove();
    return done();
}
