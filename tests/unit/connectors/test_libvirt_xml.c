/* SPDX-License-Identifier: Apache-2.0 */
/* libvirt's XML read and written, against golden files; names of files, and job XML.
 *
 *   test_libvirt_xml DIRECTORY     with BF_REGENERATE=1 the expected files are written anew
 *
 *   domain-NAME.xml  ->  domain-NAME.json      as dumped by libvirt
 *   launch-NAME.json ->  launch-NAME.xml       a machine, and how it is launched
 */
#include <dirent.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "connectors/libvirt/backup_xml.h"
#include "connectors/libvirt/domain_xml.h"
#include "connectors/libvirt/launch_xml.h"
#include "connectors/libvirt/storage.h"
#include "tests/unit/tap.h"

#define TAG "bf-00112233445566aa"
#define OTHER "bf-ffeeddccbbaa9988"
#define FILE_MAX ((size_t)1 << 20)

static const char *directory;

static void compare(const char *path, const char *got)
{
    struct bf_error err = BF_ERROR_INIT;
    char *want = NULL;

    if (getenv("BF_REGENERATE"))
        (void)bf_file_replace(path, got, strlen(got), 0644, &err);
    if (bf_file_read(path, FILE_MAX, &want, NULL, &err) < 0)
        diag("%s", err.message);
    is_string(got, want, "%s", strrchr(path, '/') + 1);
    bf_error_clear(&err);
    free(want);
}

static char *domain_to_text(const struct bf_libvirt_domain *domain)
{
    bf_auto_json *json = json_object_new_object();
    struct json_object *disks = json_object_new_array();

    json_object_object_add(json, "machine", bf_machine_to_json(domain->machine));
    bf_json_add_bool(json, "agent_connected", domain->agent_connected);
    bf_json_add_bool(json, "host_devices", domain->host_devices);
    bf_json_add_bool(json, "tpm", domain->tpm);
    bf_json_add_string(json, "cpu_mode", domain->cpu_mode);
    bf_json_add_string(json, "tag", domain->tag);
    for (size_t i = 0; i < domain->disk_count; i++) {
        const struct bf_libvirt_disk *disk = &domain->disks[i];
        struct json_object *object = json_object_new_object();
        struct json_object *chain = json_object_new_array();
        bf_json_add_string(object, "dev", disk->dev);
        bf_json_add_string(object, "type", disk->type);
        bf_json_add_string(object, "device", disk->device);
        bf_json_add_string(object, "path", disk->path);
        bf_json_add_string(object, "pool", disk->pool);
        bf_json_add_string(object, "volume", disk->volume);
        bf_json_add_bool(object, "plain", disk->plain);
        bf_json_add_bool(object, "mirror", disk->mirror);
        bf_json_add_bool(object, "transient", disk->transient);
        for (size_t j = 0; disk->chain && disk->chain[j]; j++)
            json_object_array_add(chain, json_object_new_string(disk->chain[j]));
        json_object_object_add(object, "chain", chain);
        json_object_array_add(disks, object);
    }
    json_object_object_add(json, "disks", disks);
    return bf_xasprintf("%s\n",
                        json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY |
                                                                 JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void test_domain(const char *name)
{
    bf_auto_free char *path = bf_xasprintf("%s/%s", directory, name);
    bf_auto_free char *want = bf_xasprintf("%s/%.*s.json", directory, (int)strlen(name) - 4, name);
    bf_auto_free char *xml = NULL;
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_libvirt_domain domain = {0};

    if (!ok(bf_file_read(path, FILE_MAX, &xml, NULL, &err) == 0 &&
                bf_libvirt_domain_parse(xml, &domain, &err) == 0,
            "%s is read", name)) {
        diag("%s", err.message);
        return;
    }
    bf_auto_free char *got = domain_to_text(&domain);
    compare(want, got);
}

static void test_launch(const char *name)
{
    bf_auto_free char *path = bf_xasprintf("%s/%s", directory, name);
    bf_auto_free char *want = bf_xasprintf("%s/%.*s.xml", directory, (int)strlen(name) - 5, name);
    bf_auto_json *json = NULL;
    bf_auto_machine *machine = NULL;
    bf_auto_error err = BF_ERROR_INIT;
    struct json_object *described = NULL;
    const char *bus = NULL;
    bool kvm = false, companion = false;

    if (!ok(bf_json_read_file(path, &json, &err) == 0 &&
                bf_json_get_object(json, "", "machine", &described, &err) == 0 &&
                bf_machine_from_json(described, &machine, &err) == 0 &&
                bf_json_opt_string(json, "", "disk_bus", &bus, &err) == 0 &&
                bf_json_opt_bool(json, "", "companion", &companion, &err) == 0 &&
                bf_json_opt_bool(json, "", "kvm", &kvm, &err) == 0,
            "%s is read", name)) {
        diag("%s", err.message);
        return;
    }
    const char *paths[8];
    struct bf_launch_disk disks[8];
    struct bf_launch_nic nics[8];
    for (size_t i = 0; i < machine->disk_count; i++) {
        disks[i] = (struct bf_launch_disk){.clone_ref = "", .disk = &machine->disks[i]};
        paths[i] = "/pool/a & b.qcow2";
    }
    for (size_t i = 0; i < machine->nic_count; i++)
        nics[i] = (struct bf_launch_nic){.nic = &machine->nics[i], .network = "isolated"};
    struct bf_launch_request request = {.tag = TAG,
                                        .name = machine->name,
                                        .machine = machine,
                                        .disks = disks,
                                        .disk_count = machine->disk_count,
                                        .nics = nics,
                                        .nic_count = machine->nic_count,
                                        .drill = true,
                                        .disk_bus = bus};
    bf_auto_free char *safe = bf_libvirt_domain_name(machine->name);
    struct bf_libvirt_launch_xml launch = {.request = &request,
                                           .disk_paths = paths,
                                           .console_path = "/pool/" TAG "-console.log",
                                           .companion_path =
                                               companion ? "/pool/" TAG "-companion.img" : NULL,
                                           .kvm = kvm,
                                           .direct = kvm,
                                           .name = safe};
    bf_auto_free char *xml = bf_libvirt_launch_xml(&launch);
    bf_auto_free char *got = bf_xasprintf("%s\n", xml);
    compare(want, got);

    /* What is written is what is read: the janitor finds our mark and console. */
    bf_auto_libvirt_domain domain = {0};
    bf_auto_free char *with_uuid = bf_xasprintf(
        "%.*s<uuid>u</uuid>%s", (int)(strstr(xml, "<name>") - xml), xml, strstr(xml, "<name>"));
    ok(bf_libvirt_domain_parse(with_uuid, &domain, &err) == 0, "%s: parsed again", name);
    is_string(domain.tag, TAG, "%s: the tag is found", name);
    is_string(domain.console, launch.console_path, "%s: the console is found", name);
}

static void test_golden(void)
{
    struct dirent **entries;
    int count = scandir(directory, &entries, NULL, alphasort);

    ok(count > 4, "golden files are there");
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (bf_starts_with(name, "domain-") && bf_ends_with(name, ".xml"))
            test_domain(name);
        else if (bf_starts_with(name, "launch-") && bf_ends_with(name, ".json"))
            test_launch(name);
        free(entries[i]);
    }
    free(entries);
}

static void test_bad_domains(void)
{
    static const char *const bad[] = {
        "",
        "<x/>",
        "<domain><uuid>u</uuid></domain>",
        "<domain><uuid>u</uuid><name>n</name>",
        "<domain><uuid>u</uuid><name>n</name><vcpu>-1</vcpu><memory>1</memory></domain>",
        "<domain><uuid>u</uuid><name>n</name><vcpu>1</vcpu><memory>1</memory><devices>"
        "<disk type='file'/></devices></domain>",
        "<domain><uuid>u</uuid><name>n</name><vcpu>1</vcpu><memory unit='GiB'>99999999999999"
        "</memory></domain>"};

    for (size_t i = 0; i < bf_array_length(bad); i++) {
        struct bf_libvirt_domain domain = {0};
        struct bf_error err = BF_ERROR_INIT;
        ok(bf_libvirt_domain_parse(bad[i], &domain, &err) == -1 && !domain.machine,
           "bad domain XML %zu is refused", i);
        bf_error_clear(&err);
    }
}

static void test_job(void)
{
    struct bf_libvirt_job_disk disks[] = {
        {.dev = bf_xstrdup("sda"), .included = true, .scratch = bf_xstrdup("/d & e/" TAG "-sda")},
        {.dev = bf_xstrdup("sdb"), .included = true, .full = true, .scratch = bf_xstrdup("/x")},
        {.dev = bf_xstrdup("sdc")}};
    struct bf_libvirt_job job = {.incremental = bf_xstrdup(OTHER),
                                 .socket = bf_xstrdup("/run/s"),
                                 .disks = disks,
                                 .disk_count = 3};
    bf_auto_libvirt_job read = {0};
    bf_auto_error err = BF_ERROR_INIT;
    char tag[BF_TAG_LENGTH + 1];

    bf_auto_free char *xml = bf_libvirt_job_write(&job);
    is_string(xml,
              "<domainbackup mode=\"pull\"><incremental>" OTHER "</incremental>"
              "<server transport=\"unix\" socket=\"/run/s\"/><disks>"
              "<disk name=\"sda\" backup=\"yes\" type=\"file\"><scratch file=\"/d &amp; e/" TAG
              "-sda\"/></disk>"
              "<disk name=\"sdb\" backup=\"yes\" type=\"file\" backupmode=\"full\">"
              "<scratch file=\"/x\"/></disk><disk name=\"sdc\" backup=\"no\"/></disks>"
              "</domainbackup>",
              "backup XML");
    ok(bf_libvirt_job_read(xml, &read, &err) == 0, "it is read");
    is_string(bf_libvirt_job_tag(&read, tag), TAG, "its tag");
    ok(read.disks[1].full && !read.disks[2].included && read.disk_count == 3, "its disks");
    free(job.incremental);
    free(job.socket);
    job.incremental = NULL;
    job.socket = NULL;
    job.address = bf_xstrdup("::1");
    job.port = 10901;
    job.tls = true;
    bf_auto_free char *tcp = bf_libvirt_job_write(&job);
    has_string(tcp, "transport=\"tcp\" tls=\"yes\" name=\"::1\" port=\"10901\"", "over TLS");
    ok(!strstr(tcp, "backupmode"), "a full job has no modes");
    free(job.address);
    for (size_t i = 0; i < 3; i++) {
        free(disks[i].dev);
        free(disks[i].scratch);
    }
}

static void test_checkpoint(void)
{
    struct bf_libvirt_checkpoint_disk disks[] = {{"sda", true}, {"sdb", false}};

    bf_auto_free char *fresh =
        bf_libvirt_checkpoint_write(TAG, "blockferry {\"a\":1}", disks, 2, 0);
    is_string(fresh,
              "<domaincheckpoint><name>" TAG "</name><description>blockferry {\"a\":1}"
              "</description><disks><disk name=\"sda\" checkpoint=\"bitmap\"/>"
              "<disk name=\"sdb\" checkpoint=\"no\"/></disks></domaincheckpoint>",
              "checkpoint XML");
    bf_auto_free char *old = bf_libvirt_checkpoint_write(TAG, NULL, disks, 2, 12);
    has_string(old, "<creationTime>12</creationTime>", "redefined with its time");
    has_string(old, "checkpoint=\"bitmap\" bitmap=\"" TAG "\"", "and its bitmap");
    bf_auto_free char *description = bf_libvirt_checkpoint_description(fresh);
    is_string(description, "blockferry {\"a\":1}", "its description");
}

static void test_file_names(void)
{
    static const struct {
        const char *name;
        enum bf_libvirt_file_kind kind;
        const char *tag;
        const char *volume;
        bool raw;
    } names[] = {
        {TAG "-web-vda.raw", BF_LIBVIRT_FILE_NEW, TAG, TAG, true},
        {TAG "-of-" OTHER ".raw", BF_LIBVIRT_FILE_POINT, TAG, OTHER, true},
        {TAG "-of-" OTHER ".qcow2", BF_LIBVIRT_FILE_POINT, TAG, OTHER, false},
        {TAG "-of-" OTHER ".part.raw", BF_LIBVIRT_FILE_PART, TAG, OTHER, true},
        {TAG "-of-" OTHER ".part.qcow2", BF_LIBVIRT_FILE_PART, TAG, OTHER, false},
        {TAG "-clone-of-" OTHER ".qcow2", BF_LIBVIRT_FILE_CLONE, TAG, OTHER, false},
        {TAG "-console.log", BF_LIBVIRT_FILE_CONSOLE, TAG, "", false},
        {TAG "-of-" OTHER ".raw.bak", BF_LIBVIRT_FILE_OTHER, "", "", false},
        {TAG "-clone-of-" OTHER ".raw", BF_LIBVIRT_FILE_OTHER, "", "", false},
        {TAG ".raw", BF_LIBVIRT_FILE_OTHER, "", "", false},
        {"web.raw", BF_LIBVIRT_FILE_OTHER, "", "", false},
    };

    for (size_t i = 0; i < bf_array_length(names); i++) {
        struct bf_libvirt_file file;
        bf_libvirt_file_parse(names[i].name, &file);
        ok(file.kind == names[i].kind && bf_streq(file.tag, names[i].tag) &&
               bf_streq(file.volume, names[i].volume) && file.raw == names[i].raw,
           "file name %s", names[i].name);
    }
}

static void test_domain_names(void)
{
    static const char *const names[][2] = {{"web", "web"},
                                           {"a/b\nc", "a-b-c"},
                                           {"", "machine"},
                                           {"..", "machine.."},
                                           {"Büro 1", "Büro 1"}};

    for (size_t i = 0; i < bf_array_length(names); i++) {
        bf_auto_free char *safe = bf_libvirt_domain_name(names[i][0]);
        is_string(safe, names[i][1], "domain name %zu", i);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    directory = argv[1];
    test_golden();
    test_bad_domains();
    test_job();
    test_checkpoint();
    test_file_names();
    test_domain_names();
    return done();
}
