/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/serve.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "connectors/vmware/other_plugin.h"
#include "connectors/vmware/vddk-plugin/vddk.h"

#define PLUGIN "nbdkit-bfvddk-plugin.so"
#define START_MS 120000 /* connecting to a busy vCenter and opening the disk take their time */

char *bf_vmware_vddk_missing(const struct bf_vmware_conf *conf)
{
    static const char *const versions[] = BF_VDDK_VERSIONS;

    if (!conf->library_directory)
        return bf_xstrdup("the option library_directory is not set");
    for (size_t i = 0; i < bf_array_length(versions); i++) {
        bf_auto_free char *path =
            bf_xasprintf("%s/lib64/libvixDiskLib.so.%s", conf->library_directory, versions[i]);

        if (access(path, R_OK) == 0)
            return NULL;
    }
    return bf_xasprintf("there is no libvixDiskLib.so.8, .7 or .6 in %s/lib64",
                        conf->library_directory);
}

/* An anonymous file in memory: a pipe would need somebody to write into it. */
int bf_vmware_secret_fd(const char *text, int *ret_fd, struct bf_error *err)
{
    bf_auto_fd int fd = memfd_create("secret", MFD_CLOEXEC);

    if (fd < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "memfd_create");
    if (bf_fd_write_all(fd, text, strlen(text), err) < 0)
        return -1;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return bf_fail(err, BF_E_SYSTEM, errno, "lseek");
    *ret_fd = bf_steal_fd(fd);
    return 0;
}

/* What the plugin said first is the reason; nbdkit only repeats that something failed. */
static int say_why(struct bf_error *err)
{
    const char *tail = err->evidence ? err->evidence : "";

    if (err->code == BF_E_CHILD_FAILED &&
        (strstr(tail, "password") || strstr(tail, "login") || strstr(tail, "ertificate")))
        bf_error_recode(err, BF_E_PLATFORM_AUTH);
    return bf_fail_in(err, "nbdkit with VDDK could not open the disk");
}

static int start(struct bf_vmware *vw, const struct bf_vmware_moment *moment,
                 const struct bf_vmware_ref_disk *disk, const char *socket_path,
                 struct bf_server **ret_server, struct bf_error *err)
{
    const struct bf_vmware_conf *conf = &vw->conf;
    bf_auto_free char *plugin = NULL;
    bf_auto_fd int fd = -1;

    if (bf_vmware_thumbprint(vw, err) < 0 || bf_program_find(PLUGIN, &plugin, err) < 0 ||
        bf_vmware_secret_fd(bf_secret_text(conf->password), &fd, err) < 0)
        return -1;
    bf_auto_free char *libdir = bf_xasprintf("libdir=%s", conf->library_directory);
    bf_auto_free char *host = bf_xasprintf("server=%s", conf->host);
    bf_auto_free char *port = bf_xasprintf("port=%llu", (unsigned long long)conf->port);
    bf_auto_free char *user = bf_xasprintf("user=%s", conf->user);
    bf_auto_free char *thumbprint = bf_xasprintf("thumbprint=%s", conf->thumbprint);
    bf_auto_free char *vm = bf_xasprintf("vm=moref=%s", moment->machine);
    bf_auto_free char *snapshot = bf_xasprintf("snapshot=%s", moment->snapshot);
    bf_auto_free char *file = bf_xasprintf("file=%s", disk->file);
    bf_auto_free char *transports = bf_xasprintf("transports=%s", conf->transports);
    bf_auto_free char *config =
        conf->library_config ? bf_xasprintf("config=%s", conf->library_config) : NULL;
    bf_auto_free char *path = bf_xasprintf("LD_LIBRARY_PATH=%s/lib64", conf->library_directory);
    const char *argv[] = {"nbdkit",   "--foreground", "--readonly", "--exit-with-parent",
                          "--unix",   socket_path,    plugin,       libdir,
                          host,       port,           user,         "password=-3",
                          vm,         snapshot,       file,         transports,
                          thumbprint, config,         NULL};
    const char *env[] = {path, NULL};
    struct bf_server_spec spec = {.argv = argv,
                                  .env = env,
                                  .pass_fds = &fd,
                                  .pass_fd_count = 1,
                                  .socket_path = socket_path,
                                  .start_ms = START_MS};

    return bf_server_start(&vw->base, &spec, ret_server, err) < 0 ? say_why(err) : 0;
}

int bf_vmware_serve(struct bf_vmware *vw, enum bf_vmware_path way,
                    const struct bf_vmware_moment *moment, const struct bf_vmware_ref_disk *disk,
                    struct bf_server **ret_server, struct bf_error *err)
{
    bool plugin = way == BF_VMWARE_PATH_PLUGIN;
    bf_auto_free char *path = NULL;

    if (!disk->file)
        return bf_fail(err, BF_E_DISK_UNSUPPORTED, 0, "disk %s has no file", disk->key);
    if (bf_server_socket(vw->conf.work_directory, plugin ? "plugin" : "vddk", vw->serial++, &path,
                         err) < 0)
        return -1;
    if (plugin ? bf_vmware_plugin_serve(vw, moment, disk, path, ret_server, err) < 0
               : start(vw, moment, disk, path, ret_server, err) < 0)
        return bf_fail_in(err, "%s", disk->file);
    return 0;
}
