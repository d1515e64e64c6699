/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/appliance.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "guest/kvm_probe.h"
#include "nbd/uri.h"

/* A socket's path has at most 107 bytes. */
#define SOCKET_DIRECTORY_MAX 72

static void add(struct bf_appliance_env *env, const char *name, const char *value)
{
    env->texts[env->count] = bf_xasprintf("%s=%s", name, value);
    env->list[env->count] = env->texts[env->count];
    env->count++;
    env->list[env->count] = NULL;
}

/* libguestfs takes a cluster's configuration from the environment only, so there can be but one. */
static int add_ceph(const struct bf_convert_request *request, struct bf_appliance_env *env,
                    struct bf_error *err)
{
    bf_auto_free char *conf = NULL;

    for (size_t i = 0; i < request->disk_count; i++) {
        bf_cleanup(bf_uri_done) struct bf_uri uri = {0};

        if (!bf_starts_with(request->disks[i]->uri, "rbd:"))
            continue;
        if (bf_uri_parse(request->disks[i]->uri, &uri, err) < 0)
            return -1;
        if (conf && !bf_streq(conf, uri.rbd_conf))
            return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "the disks are on two Ceph clusters");
        if (!conf)
            conf = bf_xstrdup(uri.rbd_conf);
    }
    if (conf)
        add(env, "CEPH_CONF", conf);
    return 0;
}

int bf_appliance_env_init(const struct bf_convert_request *request, const char *tmp_directory,
                          struct bf_appliance_env *ret_env, struct bf_error *err)
{
    const char *cache = request->cache_directory;
    bf_auto_free char *answer = cache ? bf_xasprintf("%s/kvm.json", cache) : NULL;
    struct bf_kvm_probe probe = {.cache_file = answer};
    struct bf_appliance_env env = {0};
    bool kvm = false;

    if (cache && bf_directory_make(cache, 0700, err) < 0)
        return -1;
    if (add_ceph(request, &env, err) < 0) {
        bf_appliance_env_done(&env);
        return -1;
    }
    if (bf_kvm_probe_run(&probe, request->deadline, request->cancel_fd, &kvm, NULL, err) < 0) {
        bf_appliance_env_done(&env);
        return -1;
    }
    add(&env, "LIBGUESTFS_BACKEND", "direct");
    if (!kvm)
        add(&env, "LIBGUESTFS_BACKEND_SETTINGS", "force_tcg");
    if (cache)
        add(&env, "LIBGUESTFS_CACHEDIR", cache);
    add(&env, "LIBGUESTFS_TMPDIR", tmp_directory);
    /* Sockets are made in these, some 35 bytes below, and a killed program leaves them there.  (As
     * root, libguestfs makes its own in /tmp all the same.) */
    if (strlen(tmp_directory) <= SOCKET_DIRECTORY_MAX) {
        add(&env, "TMPDIR", tmp_directory);
        add(&env, "XDG_RUNTIME_DIR", tmp_directory);
    } else {
        add(&env, "TMPDIR", "/tmp");
    }
    if (request->virtio_win)
        add(&env, "VIRTIO_WIN", request->virtio_win);
    *ret_env = env;
    return 0;
}

void bf_appliance_env_done(struct bf_appliance_env *env)
{
    for (size_t i = 0; i < env->count; i++)
        free(env->texts[i]);
    *env = (struct bf_appliance_env){0};
}
