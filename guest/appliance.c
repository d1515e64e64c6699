/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/appliance.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "guest/kvm_probe.h"

static void add(struct bf_appliance_env *env, const char *name, const char *value)
{
    env->texts[env->count] = bf_xasprintf("%s=%s", name, value);
    env->list[env->count] = env->texts[env->count];
    env->count++;
    env->list[env->count] = NULL;
}

int bf_appliance_env_init(const struct bf_convert_request *request, const char *tmp_directory,
                          struct bf_appliance_env *ret_env, struct bf_error *err)
{
    const char *cache =
        request->cache_directory ? request->cache_directory : request->work_directory;
    bf_auto_free char *answer = bf_xasprintf("%s/kvm.json", cache);
    struct bf_kvm_probe probe = {.cache_file = answer};
    struct bf_appliance_env env = {0};
    bool kvm = false;

    if (bf_directory_make(cache, 0700, err) < 0 ||
        bf_kvm_probe_run(&probe, request->deadline, request->cancel_fd, &kvm, NULL, err) < 0)
        return -1;
    add(&env, "LIBGUESTFS_BACKEND", "direct");
    if (!kvm)
        add(&env, "LIBGUESTFS_BACKEND_SETTINGS", "force_tcg");
    add(&env, "LIBGUESTFS_CACHEDIR", cache);
    add(&env, "LIBGUESTFS_TMPDIR", tmp_directory);
    add(&env, "TMPDIR", tmp_directory);
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
