/* SPDX-License-Identifier: Apache-2.0 */
/* Findings about what the machine stands on: account, datastores, host, and the way to it. */
#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/precheck.h"
#include "connectors/vmware/privilege.h"
#include "connectors/vmware/read_path.h"

#define NFC_PORT 902
#define HTTPS_PORT 443
#define PORT_MS 3000
#define KNOWN_PLACES 64
#define KNOWN_MS 60000

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

/* --- ports --- */

/* What was found of a place lately: all machines of a host have the same answer, and one that
 * does not come costs seconds. */
static struct {
    char *place;
    char *why; /* NULL: it answers */
    struct bf_deadline until;
} known[KNOWN_PLACES];
static unsigned known_next;
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;

static bool recall(const char *place, char **ret_why)
{
    bool found = false;

    pthread_mutex_lock(&known_lock);
    for (size_t i = 0; i < KNOWN_PLACES && !found; i++) {
        found = bf_streq(known[i].place, place) && !bf_deadline_passed(known[i].until);
        if (found)
            *ret_why = bf_xstrdup(known[i].why);
    }
    pthread_mutex_unlock(&known_lock);
    return found;
}

static void remember(const char *place, const char *why)
{
    pthread_mutex_lock(&known_lock);
    unsigned i = known_next++ % KNOWN_PLACES;
    free(known[i].place);
    free(known[i].why);
    known[i].place = bf_xstrdup(place);
    known[i].why = bf_xstrdup(why);
    known[i].until = bf_deadline_in(KNOWN_MS);
    pthread_mutex_unlock(&known_lock);
}

/* Whether something answers; what it says is no HTTP, which is fine. */
int bf_vmware_port_silent(struct bf_vmware *vw, const char *place, char **ret_why,
                          struct bf_error *err)
{
    struct bf_http_conf conf = {.connect_timeout_ms = PORT_MS,
                                .cancel_fd = bf_platform_cancel_fd(&vw->base)};
    bf_auto_free char *url = bf_xasprintf("http://%s/", place);
    struct bf_http_request request = {.method = "GET", .url = url, .timeout_ms = PORT_MS};
    struct bf_http_response response = {0};
    bf_auto_error trouble = BF_ERROR_INIT;
    struct bf_http *http = NULL;

    *ret_why = NULL;
    if (recall(place, ret_why))
        return 0;
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
        *ret_why = bf_xstrdup(trouble.message);
    remember(place, *ret_why);
    return 0;
}

/* Exported disks come from the host that vCenter names, by HTTPS. */
static int port_findings(struct bf_vmware *vw, struct around *around, bool export,
                         struct bf_error *err)
{
    bf_auto_free char *place =
        bf_xasprintf("%s:%d", around->host_name, export ? HTTPS_PORT : NFC_PORT);
    bf_auto_free char *why = NULL;

    if (bf_vmware_port_silent(vw, place, &why, err) < 0)
        return -1;
    if (why)
        bf_findings_add(around->findings, BF_SEVERITY_WARN,
                        export ? "vmware-port-443" : "vmware-port-902", around->host_name, why,
                        export ? "TCP port 443 of each ESXi host, by the name vCenter has"
                               : "TCP port 902 of each ESXi host, by the name vCenter has",
                        export ? "exported disks are sent by the hosts themselves"
                               : "VDDK reads disks from the hosts themselves",
                        "open the port from here to the hosts, and see that their names resolve");
    return 0;
}

static int host_findings(struct bf_vmware *vw, struct around *around, struct bf_error *err)
{
    static const char *const paths[] = {"name", NULL};
    bf_auto_error ignored = BF_ERROR_INIT;
    enum bf_vmware_path path;

    if (!around->machine->host || bf_vmware_read_path(vw, around->machine, &path, &ignored) < 0)
        return 0;
    bool export = path == BF_VMWARE_PATH_EXPORT && vw->is_vcenter; /* an ESXi is the host itself */
    if (!export && path != BF_VMWARE_PATH_VDDK && path != BF_VMWARE_PATH_PLUGIN)
        return 0;
    if (bf_vmware_get(vw, "HostSystem", around->machine->host, paths, take_host, around, err) < 0)
        return bf_fail_in(err, "host %s", around->machine->host);
    if (!around->host_name)
        return 0;
    int rc = port_findings(vw, around, export, err);
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
    if (bf_vmware_precheck_drs(vw, machine, false, findings, err) < 0 ||
        bf_vmware_precheck_storage_drs(vw, machine, false, findings, err) < 0 ||
        bf_vmware_precheck_elsewhere(vw, machine, findings, err) < 0)
        return -1;
    return bf_vmware_precheck_mover(vw, machine, findings, err);
}
