/* SPDX-License-Identifier: Apache-2.0 */
/* nbdkit plugin "bfvddk": one disk of a vSphere snapshot through VMware's VDDK library.
 *
 * The library is the user's (it may not be passed on), found at run time; parameters are those of
 * nbdkit's own vddk plugin.  One process serves one disk: opening disks from several threads of
 * one process is where the library breaks.
 *
 * - Connected, logged in and opened in after_fork, so that trouble ends the process with the
 *   reason on standard error, instead of surfacing at a client as a failed handshake.
 * - Reads are asynchronous: the library wants its calls on one handle one after the other, and
 *   completes them from threads of its own.  So the calls are made under a lock, and many
 *   requests wait for their completions at the same time.
 * - A failed QueryAllocatedBlocks is no error: all is data then.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "connectors/vmware/vddk-plugin/vddk.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#define MAJOR 6 /* of the API that InitEx is asked for: 6.5 is in all of them */
#define MINOR 5

static struct {
    char *libdir, *server, *user, *password, *thumbprint, *vm, *snapshot, *file, *transports;
    char *config;
    unsigned port;
} conf = {.port = 443};

static struct {
#define X(required, type, name, parameters) type(*name) parameters;
    BF_VDDK_CALLS(X)
#undef X
} vddk;

static struct {
    void *library;
    bool ready; /* InitEx was called */
    struct bf_vddk_connect *params;
    void *connection;
    void *handle;
    uint64_t size_bytes;
    pthread_mutex_t lock; /* one call on the handle at a time */
    bool no_blocks;       /* QueryAllocatedBlocks does not work here */
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- configuration --- */

static int take(char **place, const char *value)
{
    free(*place);
    *place = strdup(value);
    return *place ? 0 : -1;
}

static int bfvddk_config(const char *key, const char *value)
{
    static const struct {
        const char *key;
        char **place;
    } texts[] = {
        {"libdir", &conf.libdir}, {"server", &conf.server},         {"user", &conf.user},
        {"vm", &conf.vm},         {"thumbprint", &conf.thumbprint}, {"file", &conf.file},
        {"config", &conf.config}, {"transports", &conf.transports}, {"snapshot", &conf.snapshot},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(key, texts[i].key) == 0)
            return take(texts[i].place, value);
    }
    if (strcmp(key, "password") == 0) /* "-FD" or "+FILE"; never the password itself */
        return value[0] == '-' || value[0] == '+'
                   ? nbdkit_read_password(value, &conf.password)
                   : (nbdkit_error("password: give -FD or +FILE"), -1);
    if (strcmp(key, "port") == 0)
        return nbdkit_parse_unsigned("port", value, &conf.port);
    nbdkit_error("unknown parameter %s", key);
    return -1;
}

static int bfvddk_config_complete(void)
{
    if (conf.libdir && conf.server && conf.user && conf.password && conf.vm && conf.snapshot &&
        conf.file)
        return 0;
    nbdkit_error("libdir, server, user, password, vm, snapshot and file are needed");
    return -1;
}

/* --- the library --- */

static int find_calls(void)
{
    static const struct {
        bool required;
        const char *name;
        void *place;
    } calls[] = {
#define X(required, type, name, parameters) {required, "VixDiskLib_" #name, &vddk.name},
        BF_VDDK_CALLS(X)
#undef X
    };

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        void *found = dlsym(disk.library, calls[i].name);

        if (!found && calls[i].required) {
            nbdkit_error("the library has no %s: it is older than 6.7", calls[i].name);
            return -1;
        }
        memcpy(calls[i].place, &found, sizeof(found));
    }
    return 0;
}

static int bfvddk_get_ready(void)
{
    static const char *const versions[] = BF_VDDK_VERSIONS;

    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]) && !disk.library; i++) {
        char path[4096];

        snprintf(path, sizeof(path), "%s/lib64/libvixDiskLib.so.%s", conf.libdir, versions[i]);
        disk.library = dlopen(path, RTLD_NOW);
    }
    if (!disk.library) {
        nbdkit_error("no usable libvixDiskLib.so in %s/lib64: %s", conf.libdir, dlerror());
        return -1;
    }
    return find_calls();
}

__attribute__((format(printf, 1, 0))) static void on_log(const char *format, va_list args)
{
    char line[1024];

    vsnprintf(line, sizeof(line), format, args);
    line[strcspn(line, "\n")] = '\0';
    nbdkit_debug("vddk: %s", line);
}

__attribute__((format(printf, 1, 0))) static void on_warning(const char *format, va_list args)
{
    char line[1024];

    vsnprintf(line, sizeof(line), format, args);
    line[strcspn(line, "\n")] = '\0';
    nbdkit_error("vddk: %s", line);
}

static int fail(const char *what, bf_vddk_error error)
{
    char *text = vddk.GetErrorText(error, NULL);

    nbdkit_error("%s: VDDK error %u: %s", what, (unsigned)BF_VDDK_CODE(error),
                 text ? text : "no text");
    if (text)
        vddk.FreeErrorText(text);
    return -1;
}

static int connect_server(void)
{
    bf_vddk_error error;

    disk.params = vddk.AllocateConnectParams();
    if (!disk.params) {
        nbdkit_error("AllocateConnectParams failed");
        return -1;
    }
    disk.params->vm_spec = conf.vm;
    disk.params->server = conf.server;
    disk.params->thumbprint = conf.thumbprint && *conf.thumbprint ? conf.thumbprint : NULL;
    disk.params->credentials_type = BF_VDDK_CREDENTIALS_UID;
    disk.params->credentials.uid.user = conf.user;
    disk.params->credentials.uid.password = conf.password;
    disk.params->port = conf.port;
    error = vddk.ConnectEx(disk.params, true, conf.snapshot, conf.transports, &disk.connection);
    return error == BF_VDDK_OK ? 0 : fail("connecting", error);
}

static int bfvddk_after_fork(void)
{
    struct bf_vddk_info *info = NULL;
    bf_vddk_error error =
        vddk.InitEx(MAJOR, MINOR, on_log, on_warning, on_warning, conf.libdir, conf.config);

    if (error != BF_VDDK_OK)
        return fail("InitEx", error);
    disk.ready = true;
    if (connect_server() < 0)
        return -1;
    error = vddk.Open(disk.connection, conf.file, BF_VDDK_OPEN_READ_ONLY, &disk.handle);
    if (error != BF_VDDK_OK)
        return fail(conf.file, error);
    nbdkit_debug("vddk: transport mode %s", vddk.GetTransportMode(disk.handle));
    error = vddk.GetInfo(disk.handle, &info);
    if (error != BF_VDDK_OK)
        return fail("GetInfo", error);
    disk.size_bytes = info->capacity * BF_VDDK_SECTOR;
    vddk.FreeInfo(info);
    return 0;
}

static void bfvddk_unload(void)
{
    if (disk.handle)
        vddk.Close(disk.handle);
    if (disk.connection)
        vddk.Disconnect(disk.connection);
    if (disk.params) {
        /* The texts are ours. */
        disk.params->vm_spec = disk.params->server = disk.params->thumbprint = NULL;
        disk.params->credentials.uid.user = disk.params->credentials.uid.password = NULL;
        vddk.FreeConnectParams(disk.params);
    }
    if (conf.password)
        explicit_bzero(conf.password, strlen(conf.password));
    if (disk.ready)
        vddk.Exit();
    if (disk.library)
        dlclose(disk.library);
}

/* --- serving --- */

static void *bfvddk_open(int readonly)
{
    (void)readonly;
    return &disk;
}

static int64_t bfvddk_get_size(void *handle)
{
    (void)handle;
    return (int64_t)disk.size_bytes;
}

static int bfvddk_can_write(void *handle)
{
    (void)handle;
    return 0;
}

static int bfvddk_can_multi_conn(void *handle)
{
    (void)handle;
    return 1; /* nothing is written; all connections share the one handle */
}

static int bfvddk_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
                             uint32_t *maximum)
{
    (void)handle;
    *minimum = BF_VDDK_SECTOR;
    *preferred = 64 * 1024;
    *maximum = 2 * 1024 * 1024; /* more is refused by some hosts */
    return 0;
}

struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t done_cond;
    bool done;
    bf_vddk_error error;
};

static void on_done(void *data, bf_vddk_error error)
{
    struct waiting *waiting = data;

    pthread_mutex_lock(&waiting->lock);
    waiting->done = true;
    waiting->error = error;
    pthread_cond_signal(&waiting->done_cond);
    pthread_mutex_unlock(&waiting->lock);
}

static int read_sectors(uint8_t *buffer, uint64_t start, uint64_t count)
{
    struct waiting waiting = {.lock = PTHREAD_MUTEX_INITIALIZER,
                              .done_cond = PTHREAD_COND_INITIALIZER};
    bf_vddk_error error;

    pthread_mutex_lock(&disk.lock);
    error = vddk.ReadAsync(disk.handle, start, count, buffer, on_done, &waiting);
    pthread_mutex_unlock(&disk.lock);
    if (BF_VDDK_CODE(error) == BF_VDDK_ASYNC) {
        pthread_mutex_lock(&waiting.lock);
        while (!waiting.done)
            pthread_cond_wait(&waiting.done_cond, &waiting.lock);
        error = waiting.error;
        pthread_mutex_unlock(&waiting.lock);
    }
    if (error == BF_VDDK_OK)
        return 0;
    fail("reading", error);
    nbdkit_set_error(EIO);
    return -1;
}

static int bfvddk_pread(void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle;
    (void)flags;
    if (offset % BF_VDDK_SECTOR || count % BF_VDDK_SECTOR) {
        nbdkit_error("a request that is not of whole sectors");
        nbdkit_set_error(EINVAL);
        return -1;
    }
    return read_sectors(buffer, offset / BF_VDDK_SECTOR, count / BF_VDDK_SECTOR);
}

static int bfvddk_can_extents(void *handle)
{
    (void)handle;
    return vddk.QueryAllocatedBlocks && vddk.FreeBlockList;
}

static bool are_sane(const struct bf_vddk_blocks *blocks, uint64_t start, uint64_t end)
{
    for (uint32_t i = 0; i < blocks->count; i++) {
        uint64_t from = blocks->blocks[i].offset, length = blocks->blocks[i].length;

        if (from < start || from > end || length > end - from)
            return false;
        start = from + length;
    }
    return true;
}

/* Whole chunks inside of the disk only: what a chunk would reach beyond its end is undefined. */
static int add_blocks(struct nbdkit_extents *extents, uint64_t start, uint64_t end)
{
    struct bf_vddk_blocks *blocks = NULL;
    uint64_t at = start;
    bf_vddk_error error;
    int rc = 0;

    pthread_mutex_lock(&disk.lock);
    error =
        vddk.QueryAllocatedBlocks(disk.handle, start, end - start, BF_VDDK_CHUNK_SECTORS, &blocks);
    pthread_mutex_unlock(&disk.lock);
    if (error == BF_VDDK_OK && !are_sane(blocks, start, end)) {
        vddk.FreeBlockList(blocks);
        error = BF_VDDK_FAIL;
    }
    if (error != BF_VDDK_OK) {
        disk.no_blocks = true;
        nbdkit_debug("vddk: no allocated blocks (error %u): all is data",
                     (unsigned)BF_VDDK_CODE(error));
        return nbdkit_add_extent(extents, start * BF_VDDK_SECTOR, (end - start) * BF_VDDK_SECTOR,
                                 0);
    }
    for (uint32_t i = 0; i < blocks->count && rc == 0; i++) {
        uint64_t from = blocks->blocks[i].offset, to = from + blocks->blocks[i].length;

        if (from > at)
            rc = nbdkit_add_extent(extents, at * BF_VDDK_SECTOR, (from - at) * BF_VDDK_SECTOR,
                                   NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO);
        if (rc == 0)
            rc = nbdkit_add_extent(extents, from * BF_VDDK_SECTOR, (to - from) * BF_VDDK_SECTOR, 0);
        at = to;
    }
    if (rc == 0 && at < end)
        rc = nbdkit_add_extent(extents, at * BF_VDDK_SECTOR, (end - at) * BF_VDDK_SECTOR,
                               NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO);
    vddk.FreeBlockList(blocks);
    return rc;
}

static int bfvddk_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                          struct nbdkit_extents *extents)
{
    const uint64_t chunk = BF_VDDK_CHUNK_SECTORS;
    uint64_t start = offset / BF_VDDK_SECTOR / chunk * chunk;
    uint64_t end = (offset + count + BF_VDDK_SECTOR * chunk - 1) / BF_VDDK_SECTOR / chunk * chunk;
    uint64_t whole = disk.size_bytes / BF_VDDK_SECTOR / chunk * chunk;

    (void)handle;
    (void)flags;
    if (end > whole)
        end = whole;
    if (end > start + BF_VDDK_CHUNKS_MAX * chunk)
        end = start + BF_VDDK_CHUNKS_MAX * chunk;
    if (disk.no_blocks || end <= start)
        return nbdkit_add_extent(extents, offset, count, 0);
    if (add_blocks(extents, start, end) < 0)
        return -1;
    if (end * BF_VDDK_SECTOR < offset + count && end == whole)
        return nbdkit_add_extent(extents, end * BF_VDDK_SECTOR,
                                 disk.size_bytes - end * BF_VDDK_SECTOR, 0);
    return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "bfvddk",
    .version = BF_VERSION,
    .description = "a disk of a vSphere snapshot, through VMware's VDDK library",
    .config = bfvddk_config,
    .config_complete = bfvddk_config_complete,
    .config_help = "libdir=DIR server=HOST [port=N] user=NAME password=-FD|+FILE vm=moref=ID\n"
                   "snapshot=ID file=\"[datastore] path.vmdk\" [thumbprint=SHA1]\n"
                   "[transports=LIST] [config=FILE]",
    .get_ready = bfvddk_get_ready,
    .after_fork = bfvddk_after_fork,
    .unload = bfvddk_unload,
    .open = bfvddk_open,
    .get_size = bfvddk_get_size,
    .can_write = bfvddk_can_write,
    .can_multi_conn = bfvddk_can_multi_conn,
    .can_extents = bfvddk_can_extents,
    .block_size = bfvddk_block_size,
    .pread = bfvddk_pread,
    .extents = bfvddk_extents,
};

struct nbdkit_plugin *plugin_init(void); /* defined by the macro */
NBDKIT_REGISTER_PLUGIN(plugin)
