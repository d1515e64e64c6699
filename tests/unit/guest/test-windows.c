/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a Windows conversion that need neither an appliance nor a registry. */
#include <endian.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/firstboot/steps.h"
#include "guest/hive_file.h"
#include "guest/ntfs.h"
#include "guest/ustar.h"
#include "guest/virtio_win.h"
#include "guest/windows_facts.h"
#include "guest/windows_steps.h"
#include "tests/unit/tap.h"

#define HIVE_SIZE (2 * BF_HIVE_PAGE)

static void put_u32(unsigned char *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

/* A header with its checksum. */
static void make_hive(unsigned char *hive, uint32_t first, uint32_t second)
{
    uint32_t sum = 0;

    memset(hive, 0, HIVE_SIZE);
    memcpy(hive, "regf", 4);
    put_u32(hive + 4, first);
    put_u32(hive + 8, second);
    put_u32(hive + 40, BF_HIVE_PAGE);
    for (size_t i = 0; i < 508; i += 4) {
        uint32_t word;

        memcpy(&word, hive + i, sizeof(word));
        sum ^= le32toh(word);
    }
    put_u32(hive + 508, sum);
}

static void refused(const unsigned char *hive, size_t size, enum bf_error_code code,
                    const char *part)
{
    bf_auto_error err = BF_ERROR_INIT;

    ok(bf_hive_file_check("SYSTEM", hive, size, &err) == -1, "%s: refused", part);
    has_string(err.message, part, "the message tells it");
    is_error(&err, code, "its error");
}

static void hive_files(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    unsigned char hive[HIVE_SIZE];

    make_hive(hive, 7, 7);
    ok(bf_hive_file_check("SYSTEM", hive, sizeof(hive), &err) == 0, "a clean hive");
    refused(hive, BF_HIVE_PAGE, BF_E_GUEST_REGISTRY, "no registry hive");
    make_hive(hive, 8, 7);
    refused(hive, sizeof(hive), BF_E_GUEST_REGISTRY_DIRTY, "sequence numbers 8 and 7");
    make_hive(hive, 7, 7);
    hive[40 + 1] = 0x20;
    refused(hive, sizeof(hive), BF_E_GUEST_REGISTRY, "checksum");
    hive[508 + 1] ^= 0x30;
    refused(hive, sizeof(hive), BF_E_GUEST_REGISTRY, "cut off");
    hive[0] = 'x';
    refused(hive, sizeof(hive), BF_E_GUEST_REGISTRY, "no registry hive");
}

static int note_run(size_t offset, const void *data, size_t size, void *user, struct bf_error *err)
{
    (void)data;
    (void)err;
    bf_buf_addf(user, "%zu+%zu ", offset / BF_HIVE_PAGE, size);
    return 0;
}

static void hive_changes(void)
{
    static unsigned char before[5 * BF_HIVE_PAGE], after[7 * BF_HIVE_PAGE];
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_buf runs = {0};

    ok(bf_hive_file_changes(before, sizeof(before), after, sizeof(before), note_run, &runs, &err) ==
               0 &&
           !runs.text,
       "equal files: nothing is written");
    after[0] = 1;
    after[2 * BF_HIVE_PAGE + 5] = after[3 * BF_HIVE_PAGE] = 1;
    bf_hive_file_changes(before, sizeof(before), after, sizeof(after), note_run, &runs, &err);
    is_string(runs.text, "0+4096 2+8192 5+8192 ", "changed pages, and what is behind the old end");
}

static void ntfs(void)
{
    unsigned char boot[BF_NTFS_BOOT_SIZE] = {0}, record[1024] = {0};
    uint64_t offset = 0;
    size_t size = 0;
    bool dirty = false;

    ok(!bf_ntfs_volume_record(boot, &offset, &size), "zeros are no NTFS");
    memcpy(boot + 3, "NTFS    ", 8);
    boot[12] = 2;            /* 512 bytes a sector */
    boot[13] = 8;            /* 8 sectors a cluster */
    boot[48] = 4;            /* the table's first cluster */
    boot[64] = (uint8_t)-10; /* records of 1 KiB */
    ok(bf_ntfs_volume_record(boot, &offset, &size), "a boot sector");
    is_int((long long)offset, 4 * 4096 + 3 * 1024, "where the record is");
    is_int((long long)size, 1024, "its size");
    boot[13] = 0;
    ok(!bf_ntfs_volume_record(boot, &offset, &size), "clusters of nothing");
    memcpy(boot + 3, "-FVE-FS-", 8);
    ok(bf_ntfs_is_bitlocker(boot), "BitLocker");

    ok(!bf_ntfs_is_dirty(record, sizeof(record), &dirty), "zeros are no record");
    memcpy(record, "FILE", 4);
    record[4] = 48, record[6] = 3; /* three fixup words at 48 */
    record[20] = 56;               /* the first attribute */
    record[56] = 0x70, record[60] = 40, record[76] = 24;
    record[56 + 24 + 10] = 1;
    ok(bf_ntfs_is_dirty(record, sizeof(record), &dirty) && dirty, "marked dirty");
    record[56 + 24 + 10] = 0;
    ok(bf_ntfs_is_dirty(record, sizeof(record), &dirty) && !dirty, "clean");
    record[76] = 0xff, record[77] = 0x7f;
    ok(!bf_ntfs_is_dirty(record, sizeof(record), &dirty), "a value outside the record");
    record[56] = 0x10, record[60] = 8;
    ok(!bf_ntfs_is_dirty(record, sizeof(record), &dirty), "an attribute too short");
    record[510] = 1;
    ok(!bf_ntfs_is_dirty(record, sizeof(record), &dirty), "a torn sector");
}

static void driver_folders(void)
{
    static const struct {
        const char *facts, *folder;
    } cases[] = {
        {"{\"version\":\"10.0\",\"build\":26100,\"client\":false}", "2k25"},
        {"{\"version\":\"10.0\",\"build\":20348,\"client\":false}", "2k22"},
        {"{\"version\":\"10.0\",\"build\":17763,\"client\":false}", "2k19"},
        {"{\"version\":\"10.0\",\"build\":16299,\"client\":false}", "2k16"},
        {"{\"version\":\"6.3\",\"build\":9600,\"client\":false}", "2k12R2"},
        {"{\"version\":\"6.2\",\"build\":9200,\"client\":false}", "2k12"},
        {"{\"version\":\"6.1\",\"build\":7601,\"client\":false}", "2k8R2"},
        {"{\"version\":\"10.0\",\"build\":22631,\"client\":true}", "w11"},
        {"{\"version\":\"10.0\",\"build\":19045,\"client\":true}", "w10"},
        {"{\"version\":\"6.3\",\"build\":9600,\"client\":true}", "w8.1"},
        {"{\"version\":\"6.1\",\"build\":7601,\"client\":true}", "w7"},
        {"{\"version\":\"6.0\",\"build\":6003,\"client\":false}", NULL},
        {"{\"version\":\"5.2\",\"client\":false}", NULL},
        {"{\"version\":3}", NULL},
        {"[]", NULL},
    };

    for (size_t i = 0; i < bf_array_length(cases); i++) {
        bf_auto_json *facts = json_tokener_parse(cases[i].facts);

        is_string(bf_windows_driver_folder(facts), cases[i].folder, "%s", cases[i].facts);
    }
}

static char *picked(const char *const *paths, const char *driver, const char *folder)
{
    struct bf_drivers drivers = {.count = 1};
    bf_auto_buf names = {0};
    char *list[32] = {NULL};

    for (size_t i = 0; paths[i]; i++)
        list[i] = bf_xstrdup(paths[i]);
    if (bf_virtio_win_pick(list, driver, folder, "amd64", &drivers.list[0]))
        for (size_t i = 0; i < drivers.list[0].count; i++)
            bf_buf_addf(&names, "%s ", drivers.list[0].files[i].name);
    else
        bf_buf_addf(&names, "none");
    bf_drivers_done(&drivers);
    for (size_t i = 0; list[i]; i++)
        free(list[i]);
    return bf_steal(names.text);
}

static void drivers(void)
{
    static const char *const iso[] = {"NetKVM/2k19/amd64/netkvm.INF",
                                      "NetKVM/2k19/amd64/netkvm.sys",
                                      "NetKVM/2k19/amd64/netkvmco.exe",
                                      "NetKVM/2k19/amd64/NETKVM.CAT",
                                      "NetKVM/2k19/amd64/netkvm.pdb",
                                      "NetKVM/2k19/x86/netkvm.inf",
                                      "NetKVM/2k16/amd64/netkvm.inf",
                                      "NetKVM/2k19/amd64/old/netkvm.sys",
                                      NULL};
    static const char *const by_os[] = {"/amd64/2k19/netkvm.inf",  "/amd64/2k19/netkvm.sys",
                                        "/amd64/2k19/viostor.inf", "/amd64/2k19/viostor.cat",
                                        "/amd64/2k19/viostor.sys", NULL};
    bf_auto_free char *a = picked(iso, "netkvm", "2k19");
    bf_auto_free char *b = picked(by_os, "viostor", "2k19");
    bf_auto_free char *c = picked(iso, "netkvm", "2k22");
    bf_auto_free char *d = picked(iso, "viostor", "2k19");

    is_string(a, "netkvm.inf netkvm.sys netkvmco.exe netkvm.cat ",
              "all of the folder but symbols; one version, one architecture");
    is_string(b, "viostor.inf viostor.cat viostor.sys ", "a folder of many drivers");
    is_string(c, "none", "another version is not taken in its place");
    is_string(d, "none", "another driver neither");
}

static void archive(void)
{
    bf_auto_buf tar = {0};
    bf_auto_free char *name = bf_xasprintf("%0100d", 1);

    ok(!bf_ustar_add(&tar, name, "x", 1), "a name of 100 bytes is too long");
    ok(bf_ustar_add(&tar, "a/b", "hello", 5), "a file");
    bf_ustar_end(&tar);
    is_int((long long)tar.length, 4 * 512, "header, block, end");
    is_string(tar.text, "a/b", "the name comes first");
    ok(memcmp(tar.text + 124, "00000000005", 12) == 0, "the size");
    ok(memcmp(tar.text + 512, "hello\0", 6) == 0, "the content");
}

#define ONE_ADAPTER(instance, mac)                                                                 \
    "{\"version\":\"10.0\",\"vmware_tools\":[],\"adapters\":[{\"name\":\"LAN\",\"instance\":\""    \
    "PCI\\\\VEN\\\\" instance "\",\"mac\":" mac ",\"addresses\":[{\"address\":\"10.0.0.5\","       \
    "\"mask\":\"255.0.0.0\"}],\"gateways\":[\"10.0.0.1\"],\"dns\":[\"10.0.0.2\",\"; del\"]}]}"

static char *steps_of(const char *text, const char *const *macs, size_t count,
                      struct json_object *warnings)
{
    bf_auto_json *facts = json_tokener_parse(text);
    struct bf_windows_cards cards = {macs, count};

    return bf_windows_steps(facts, &cards, false, warnings);
}

static void addresses(void)
{
    static const char *const two[] = {"00:50:56:AA:BB:01", "00:50:56:aa:bb:02"};
    static const char *const texts[] = {
        ONE_ADAPTER("005056FFFFAABB0200", "null"), ONE_ADAPTER("02BBAAFFFF56500000", "null"),
        ONE_ADAPTER("005056FFFEAABB0200", "null"), ONE_ADAPTER("4&1", "\"00-50-56-AA-BB-02\"")};
    bf_auto_json *warnings = json_object_new_array();

    for (size_t i = 0; i < bf_array_length(texts); i++) {
        bf_auto_free char *steps = steps_of(texts[i], two, 2, warnings);

        is_string(steps,
                  "blockferry-firstboot 1\r\n"
                  "address 00:50:56:AA:BB:02 10.0.0.5 255.0.0.0\r\n"
                  "gateway 00:50:56:AA:BB:02 10.0.0.1\r\n"
                  "dns 00:50:56:AA:BB:02 10.0.0.2\r\n",
                  "the second card, told by its MAC; nothing but addresses gets through");
    }
    {
        bf_auto_free char *steps = steps_of(ONE_ADAPTER("4&1", "null"), two, 1, warnings);

        has_string(steps, "address 00:50:56:AA:BB:01", "one adapter, one card: by order");
    }
    is_int((long long)json_object_array_length(warnings), 0, "no warning so far");
    {
        bf_auto_free char *steps = steps_of(ONE_ADAPTER("4&1", "null"), two, 2, warnings);

        ok(!steps, "one adapter, two cards: nothing is guessed");
        has_string(json_object_get_string(json_object_array_get_idx(warnings, 0)),
                   "LAN: 10.0.0.5/255.0.0.0 gateway 10.0.0.1", "the warning has the addresses");
    }
}

static void install(void)
{
    bf_auto_json *old = json_tokener_parse("{\"build\":9600,\"vmware_tools\":[\"{A}\"]}");
    bf_auto_json *recent = json_tokener_parse("{\"build\":14393}");
    bf_auto_json *warnings = json_object_new_array();
    struct bf_windows_cards cards = {NULL, 0};
    bf_auto_free char *a = bf_windows_steps(old, &cards, true, warnings);
    bf_auto_free char *b = bf_windows_steps(recent, &cards, true, warnings);
    bf_auto_free char *c = bf_windows_steps(recent, &cards, false, warnings);

    has_string(a, "pnputil.exe\" -i -a \"", "before Windows 10");
    has_string(a, "msiexec.exe\" /x {A} /qn", "VMware Tools go");
    has_string(b, "pnputil.exe\" /add-driver \"%SystemRoot%\\Drivers\\VirtIO\\*.inf\" /install",
               "Windows 10");
    ok(!c, "nothing to do, no steps");
}

/* The half of firstboot.exe that knows no Windows. */
static void first_boot(void)
{
    const char *text = "blockferry-firstboot 1\r\nrun 60 \"%SystemRoot%\\a.exe\" /x \"b c\"\r\n"
                       "\r\nrun 0 never\nrun 9999 never\naddress 00:50:56:AA:BB:01 10.0.0.5\n"
                       "address 00:50:56:AA:BB:01 10.0.0.5 255.0.0.0\naddress 1 2 3\n"
                       "dns 00:50:56:aa:bb:01 10.0.0.2;x\ngateway 00:50:56:aa:bb:01 10.0.0.1";
    struct bf_step_counts counts = {0};
    struct bf_step step;
    bf_auto_buf done = {0};
    char command[256];

    ok(bf_step_head(text), "the head");
    ok(!bf_step_head("blockferry-firstboot 10\n"), "another version's");
    while (bf_step_next(&text, &step))
        if (step.kind == BF_STEP_RUN)
            bf_buf_addf(&done, "[%u %s]", step.seconds, step.text);
        else if (step.kind != BF_STEP_NONE)
            bf_buf_addf(&done, "[%d %s %s %s]", (int)step.kind, step.mac, step.text, step.mask);
    is_string(done.text,
              "[60 \"%SystemRoot%\\a.exe\" /x \"b c\"][2 00:50:56:aa:bb:01 10.0.0.5 255.0.0.0]"
              "[3 00:50:56:aa:bb:01 10.0.0.1 ]",
              "steps in their order, malformed ones skipped");

    step = (struct bf_step){.kind = BF_STEP_ADDRESS, .text = "10.0.0.5", .mask = "255.0.0.0"};
    ok(bf_step_netsh(&step, 12, &counts, command, sizeof(command)), "an address");
    has_string(command, "ipv4 set address name=12 source=static address=10.0.0.5 mask=255.0.0.0",
               "the first one is set");
    bf_step_netsh(&step, 12, &counts, command, sizeof(command));
    has_string(command, "ipv4 add address name=12 address=10.0.0.5", "the others are added");
    step.kind = BF_STEP_DNS;
    bf_step_netsh(&step, 12, &counts, command, sizeof(command));
    has_string(command, "ipv4 set dnsservers name=12 source=static address=10.0.0.5", "a server");
    step.kind = BF_STEP_GATEWAY;
    bf_step_netsh(&step, 12, &counts, command, sizeof(command));
    has_string(command, "ipv4 add address name=12 gateway=10.0.0.5 gwmetric=1", "a gateway");
    ok(!bf_step_netsh(&step, 12, &counts, command, 20), "too long");
}

int main(void)
{
    hive_files();
    hive_changes();
    ntfs();
    driver_folders();
    drivers();
    archive();
    addresses();
    install();
    first_boot();
    return done();
}
