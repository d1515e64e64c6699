/* SPDX-License-Identifier: Apache-2.0 */
/* Findings about what the machine stands on: account, datastores, host, and the way to it. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/precheck.h"
#include "connectors/vmware/privilege.h"
#include "connectors/vmware/read_path.h"

#define NFC_PORT 902
#define PORT_MS 3000

struct around {
    const struct bf_vmware_machine *machine;
    struct bf_findings *findings;
    char *host_name;
};

/* A snapshot's delta grows with what the guest writes during a round: a tenth is the usual rule. */
static int take_datastore(const char *id, xmlNodePtr object, void *user)
{
    struct around *around = user;
    bf_auto_free char *name = bf_vmware_text(bf_vmware_property(object, "summary.name"), "");
    bf_auto_free char *type = bf_vmware_text(bf_vmware_property(object, "summary.type"), "");
    uint64_t free_bytes =
        bf_vmware_number(bf_vmware_property(object, "summary.freeSpace"), "", UINT64_MAX);
    uint64_t size = 0;

    for (size_t i = 0; i < around->machine->disk_count; i++) {
        if (bf_streq(around->machine->disks[i].datastore, id))
            size += around->machine->disks[i].size_bytes;
    }
    if (free_bytes < size / 10) {
        bf_auto_free char *have = bf_format_bytes(free_bytes);
        bf_auto_free char *want = bf_format_bytes(size / 10);
        bf_auto_free char *found = bf_xasprintf("%s free", have);
        bf_auto_free char *needed = bf_xasprintf("%s, a tenth of the disks", want);

        bf_findings_add(around->findings, BF_SEVERITY_BLOCK, "vmware-datastore-space",
                        name ? name : id, found, needed,
                        "the snapshot of a round grows with what the guest writes; a full "
                        "datastore stops every machine on it",
                        "free space on the datastore");
    }
    if (type && (bf_starts_with(type, "NFS") || bf_streq(type, "vsan")))
        bf_findings_add(around->findings, BF_SEVERITY_INFO, "vmware-datastore-type",
                        name ? name : id, type, "VMFS",
                        "which areas are in use may not be told there: the first round then "
                        "reads whole disks",
                        "none is needed");
    return 0;
}

static int datastore_findings(struct bf_vmware *vw, struct around *around, struct bf_error *err)
{
    static const char *const paths[] = {"summary.name", "summary.freeSpace", "summary.type", NULL};

    for (char **at = around->machine->datastores; at && *at; at++) {
        if (bf_vmware_get(vw, "Datastore", *at, paths, take_datastore, around, err) < 0)
            return bf_fail_in(err, "datastore %s", *at);
    }
    return 0;
}

static int take_host(const char *id, xmlNodePtr object, void *user)
{
    struct around *around = user;

    (void)id;
    around->host_name = bf_vmware_text(bf_vmware_property(object, "name"), "");
    return 0;
}

/* Whether the port answers; what it says is no HTTP, which is fine. */
static int port_findings(struct bf_vmware *vw, struct around *around, struct bf_error *err)
{
    struct bf_http_conf conf = {.connect_timeout_ms = PORT_MS,
                                .cancel_fd = bf_platform_cancel_fd(&vw->base)};
    bf_auto_free char *url = bf_xasprintf("http://%s:%d/", around->host_name, NFC_PORT);
    struct bf_http_request request = {.method = "GET", .url = url, .timeout_ms = PORT_MS};
    struct bf_http_response response = {0};
    bf_auto_error trouble = BF_ERROR_INIT;
    struct bf_http *http = NULL;

    if (bf_http_new(&conf, &http, err) < 0)
        return -1;
    if (bf_http_perform(http, &request, &response, &trouble) == 0)
        bf_http_response_done(&response);
    bf_http_free(http);
    if (trouble.code == BF_E_CANCELLED) {
        bf_error_move(err, &trouble);
        return -1;
    }
    if (trouble.code == BF_E_PLATFORM_UNREACHABLE)
        bf_findings_add(around->findings, BF_SEVERITY_WARN, "vmware-port-902", around->host_name,
                        trouble.message, "TCP port 902 of each ESXi host, by the name vCenter has",
                        "VDDK reads disks from the hosts themselves",
                        "open the port from here to the hosts, and see that their names resolve");
    return 0;
}

static int host_findings(struct bf_vmware *vw, struct around *around, struct bf_error *err)
{
    static const char *const paths[] = {"name", NULL};

    if (!around->machine->host)
        return 0;
    if (bf_vmware_get(vw, "HostSystem", around->machine->host, paths, take_host, around, err) < 0)
        return bf_fail_in(err, "host %s", around->machine->host);
    if (!around->host_name)
        return 0;
    int rc = port_findings(vw, around, err);
    free(around->host_name);
    return rc;
}

int bf_vmware_precheck_around(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                              struct bf_findings *findings, struct bf_error *err)
{
    struct around around = {.machine = machine, .findings = findings};
    bf_auto_free char *missing = NULL;

    if (bf_vmware_privileges_missing(vw, "VirtualMachine", machine->machine->id, &missing, err) < 0)
        return -1;
    if (missing)
        bf_findings_add(findings, BF_SEVERITY_BLOCK, "vmware-privilege", NULL, missing,
                        "these privileges on the machine", "rounds or the cutover would fail",
                        "add them to the account's role on this machine or its folder");
    if (bf_vmware_read_path_findings(vw, machine, findings, err) < 0 ||
        datastore_findings(vw, &around, err) < 0 || host_findings(vw, &around, err) < 0)
        return -1;
    return 0;
}
