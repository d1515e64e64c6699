/* SPDX-License-Identifier: Apache-2.0 */
/* Findings about vSphere's own moving about: DRS moves machines between hosts, Storage DRS their
 * files between datastores.  Nothing is changed: switching it off for single machines is the
 * admin's. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/precheck.h"

/* --- the cluster of a host --- */

struct parent {
    char *id, *type;
};

static void parent_done(struct parent *parent)
{
    free(parent->id);
    free(parent->type);
}

static int take_parent(const char *id, xmlNodePtr object, void *user)
{
    struct parent *parent = user;
    xmlNodePtr reference = bf_vmware_property(object, "parent");

    (void)id;
    parent->id = bf_vmware_text(reference, "");
    parent->type = bf_vmware_reference_type(reference);
    return 0;
}

/* --- what DRS would do with a machine --- */

struct drs {
    const char *machine; /* moref */
    const char *host;    /* that it runs on */
    char *cluster;       /* name */
    char *behavior;      /* of the machine; NULL: DRS is off, for all or for it */
};

static void drs_done(struct drs *drs)
{
    free(drs->cluster);
    free(drs->behavior);
}

static bool lists(xmlNodePtr group, const char *list, const char *id)
{
    BF_VMWARE_EACH(member, group, list)
    {
        if (bf_vmware_is(member, "", id))
            return true;
    }
    return false;
}

static size_t count_of(xmlNodePtr group, const char *list)
{
    size_t count = 0;

    BF_VMWARE_EACH(member, group, list)
    count++;
    return count;
}

static xmlNodePtr group_named(xmlNodePtr config, const char *name)
{
    BF_VMWARE_EACH(group, config, "group")
    {
        if (name && bf_vmware_is(group, "name", name))
            return group;
    }
    return NULL;
}

/* A rule that must be kept, and leaves it one host. */
static bool is_tied(xmlNodePtr config, const struct drs *drs)
{
    BF_VMWARE_EACH(rule, config, "rule")
    {
        bf_auto_free char *machines = bf_vmware_text(rule, "vmGroupName");
        bf_auto_free char *hosts = bf_vmware_text(rule, "affineHostGroupName");
        xmlNodePtr group = group_named(config, hosts);

        if (bf_vmware_true(rule, "enabled") && bf_vmware_true(rule, "mandatory") && group &&
            count_of(group, "host") == 1 && lists(group, "host", drs->host) &&
            lists(group_named(config, machines), "vm", drs->machine))
            return true;
    }
    return false;
}

static int take_cluster(const char *id, xmlNodePtr object, void *user)
{
    struct drs *drs = user;
    bf_auto_free char *name = bf_vmware_text(bf_vmware_property(object, "name"), "");
    xmlNodePtr config = bf_vmware_property(object, "configurationEx");
    xmlNodePtr common = bf_vmware_child(config, "drsConfig");

    drs->cluster = bf_vmware_unescape(name ? name : id);
    if (!bf_vmware_true(common, "enabled") || is_tied(config, drs))
        return 0;
    drs->behavior = bf_vmware_text(common, "defaultVmBehavior");
    BF_VMWARE_EACH(one, config, "drsVmConfig")
    {
        if (!bf_vmware_is(one, "key", drs->machine) ||
            bf_vmware_is(common, "enableVmBehaviorOverrides", "false"))
            continue;
        char *behavior = bf_vmware_text(one, "behavior");

        if (behavior || bf_vmware_is(one, "enabled", "false")) {
            free(drs->behavior);
            drs->behavior = bf_vmware_is(one, "enabled", "false") ? NULL : bf_xstrdup(behavior);
        }
        free(behavior);
    }
    return 0;
}

/* Hosts, clusters, datastore clusters, other machines. */
int bf_vmware_unless_hidden(struct bf_vmware *vw, const char *what, const char *id,
                            struct bf_error *err)
{
    if (err->code != BF_E_PLATFORM_PRIVILEGE && !bf_vmware_fault(vw, "ManagedObjectNotFound"))
        return bf_fail_in(err, "%s %s", what, id);
    bf_error_clear(err);
    return 0;
}

int bf_vmware_precheck_drs(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                           bool is_mover, struct bf_findings *findings, struct bf_error *err)
{
    static const char *const up[] = {"parent", NULL};
    static const char *const paths[] = {"name", "configurationEx", NULL};
    bf_cleanup(parent_done) struct parent parent = {0};
    bf_cleanup(drs_done) struct drs drs = {.machine = machine->machine->id, .host = machine->host};

    if (!machine->host)
        return 0;
    if (bf_vmware_get(vw, "HostSystem", machine->host, up, take_parent, &parent, err) < 0)
        return bf_vmware_unless_hidden(vw, "host", machine->host, err);
    if (!parent.id || !bf_streq(parent.type, "ClusterComputeResource"))
        return 0;
    if (bf_vmware_get(vw, parent.type, parent.id, paths, take_cluster, &drs, err) < 0)
        return bf_vmware_unless_hidden(vw, "cluster", parent.id, err);
    if (!bf_streq(drs.behavior, "fullyAutomated"))
        return 0;
    bf_auto_free char *found =
        bf_xasprintf("DRS of cluster %s moves it by itself (fullyAutomated)", drs.cluster);
    if (is_mover)
        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-mover-drs", machine->machine->id, found,
                        "a mover that stays where it is: manual, partiallyAutomated or disabled",
                        "while disks of others hang on it a move fails or cuts them off, and the "
                        "new host may not reach the datastores",
                        "give it a VM override in the cluster (DRS: manual), or a rule that it "
                        "must run on its host");
    else
        bf_findings_add(findings, BF_SEVERITY_INFO, "vmware-drs", NULL, found,
                        "a machine that stays at its host between rounds",
                        "after a move to another host the next round compares whole disks",
                        "none is needed; a VM override in the cluster (DRS: manual) keeps rounds "
                        "small");
    return 0;
}

/* --- storage --- */

struct pod {
    const char *machine;
    bool moves;
};

static int take_pod(const char *id, xmlNodePtr object, void *user)
{
    struct pod *pod = user;
    xmlNodePtr config =
        bf_vmware_find(bf_vmware_property(object, "podStorageDrsEntry"), "storageDrsConfig");
    xmlNodePtr common = bf_vmware_child(config, "podConfig");

    (void)id;
    pod->moves =
        bf_vmware_true(common, "enabled") && bf_vmware_is(common, "defaultVmBehavior", "automated");
    BF_VMWARE_EACH(one, config, "vmConfig")
    {
        bf_auto_free char *behavior = bf_vmware_text(one, "behavior");

        if (!bf_vmware_is(one, "vm", pod->machine))
            continue;
        if (bf_vmware_is(one, "enabled", "false"))
            pod->moves = false;
        else if (behavior && bf_vmware_true(common, "enabled"))
            pod->moves = bf_streq(behavior, "automated");
    }
    return 0;
}

/* Of a datastore: the cluster that it is in; NULL: in none. */
struct store {
    char *name, *pod;
};

static void store_done(struct store *store)
{
    free(store->name);
    free(store->pod);
}

static int take_store(const char *id, xmlNodePtr object, void *user)
{
    struct store *store = user;
    xmlNodePtr parent = bf_vmware_property(object, "parent");
    bf_auto_free char *type = bf_vmware_reference_type(parent);

    store->name = bf_vmware_text(bf_vmware_property(object, "summary.name"), "");
    if (!store->name)
        store->name = bf_xstrdup(id);
    if (bf_streq(type, "StoragePod"))
        store->pod = bf_vmware_text(parent, "");
    return 0;
}

static void add_storage(const struct bf_vmware_machine *machine, bool is_mover, const char *store,
                        struct bf_findings *findings)
{
    if (is_mover) {
        bf_auto_free char *found =
            bf_xasprintf("Storage DRS moves its files on %s by itself (automated)", store);

        bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-mover-storage-drs",
                        machine->machine->id, found, "a mover whose files stay where they are",
                        "a move of its files takes those of others along that hang on it, or "
                        "fails because of them",
                        "give it a VM override in the datastore cluster (no automation), or put "
                        "its own disk on a datastore that is in none");
        return;
    }
    bf_findings_add(findings, BF_SEVERITY_WARN, "vmware-storage-drs", store,
                    "Storage DRS moves the machine's files by itself (automated)",
                    "files that stay where they are while a round reads them",
                    "a round whose files are moved fails, and change tracking begins anew",
                    "give the machine a VM override in the datastore cluster (no automation)");
}

int bf_vmware_precheck_storage_drs(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                                   bool is_mover, struct bf_findings *findings,
                                   struct bf_error *err)
{
    static const char *const up[] = {"summary.name", "parent", NULL};
    static const char *const paths[] = {"podStorageDrsEntry", NULL};

    for (char **at = machine->datastores; at && *at; at++) {
        bf_cleanup(store_done) struct store store = {0};
        struct pod pod = {.machine = machine->machine->id};

        if (bf_vmware_get(vw, "Datastore", *at, up, take_store, &store, err) < 0 &&
            bf_vmware_unless_hidden(vw, "datastore", *at, err) < 0)
            return -1;
        if (!store.pod)
            continue;
        if (bf_vmware_get(vw, "StoragePod", store.pod, paths, take_pod, &pod, err) < 0 &&
            bf_vmware_unless_hidden(vw, "datastore cluster", store.pod, err) < 0)
            return -1;
        if (pod.moves)
            add_storage(machine, is_mover, store.name, findings);
    }
    return 0;
}
