/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/datacenter.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/text.h"

#define DEPTH_MAX 32 /* of folders */

struct level {
    char *name, *parent, *parent_type;
};

static void level_done(struct level *level)
{
    free(level->name);
    free(level->parent);
    free(level->parent_type);
    *level = (struct level){0};
}

static int take_level(const char *id, xmlNodePtr object, void *user)
{
    struct level *level = user;
    xmlNodePtr parent = bf_vmware_property(object, "parent");

    (void)id;
    level->name = bf_vmware_text(bf_vmware_property(object, "name"), "");
    level->parent = bf_vmware_text(parent, "");
    level->parent_type = bf_vmware_reference_type(parent);
    return 0;
}

int bf_vmware_datacenter_path(struct bf_vmware *vw, const char *type, const char *id,
                              char **ret_path, struct bf_error *err)
{
    static const char *const paths[] = {"name", "parent", NULL};
    bf_auto_free char *at_type = bf_xstrdup(type);
    bf_auto_free char *at = bf_xstrdup(id);
    bf_auto_free char *path = NULL;

    for (int depth = 0; at && at_type && !bf_streq(at, vw->root_folder); depth++) {
        bf_cleanup(level_done) struct level level = {0};

        if (depth > DEPTH_MAX)
            return bf_fail(err, BF_E_PROTOCOL, 0, "%s %s is in no datacenter", type, id);
        if (bf_vmware_get(vw, at_type, at, paths, take_level, &level, err) < 0)
            return bf_fail_in(err, "the datacenter of %s %s", type, id);
        if (level.name && (path || bf_streq(at_type, "Datacenter"))) {
            char *longer = path ? bf_xasprintf("%s/%s", level.name, path) : bf_xstrdup(level.name);

            free(path);
            path = longer;
        }
        free(at);
        free(at_type);
        at = bf_steal(level.parent);
        at_type = bf_steal(level.parent_type);
    }
    if (!path)
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "%s %s is in no datacenter that the account sees", type, id);
    *ret_path = bf_steal(path);
    return 0;
}
