/* SPDX-License-Identifier: Apache-2.0 */
/* A stand-in for VMware's libvixDiskLib.so, made from the plugin's own list of entry points.
 *
 * It serves what tests/lab/vmware froze.  LIBDIR/standin.conf says, one KEY=VALUE a line:
 *   root=DIR            of the lab
 *   slow_ms=N           each read takes so long
 *   error_at=N          the N-th read fails
 *   break_at=N          all reads fail from the N-th on, as when the host is gone
 *   no_blocks=1         QueryAllocatedBlocks fails
 * If ROOT/connections is there, each opened and closed disk writes a line into it.
 * The real one's manners are kept: InitEx once, the password and thumbprint checked, calls on one
 * handle one after the other, completions from a thread of its own, queries in whole chunks and
 * inside of the disk only.  What breaks them ends the process.
 */
#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connectors/vmware/vddk-plugin/vddk.h"

#define PUBLIC __attribute__((visibility("default")))
#define E_ARGUMENT 3
#define E_NOT_FOUND 4
#define E_IO 13
#define E_LOGIN 18
#define E_HOST 14009

/* The list again, as prototypes. */
#define X(required, type, name, parameters) PUBLIC type VixDiskLib_##name parameters;
BF_VDDK_CALLS(X)
#undef X

struct job {
    struct job *next;
    uint64_t start, count;
    uint8_t *buffer;
    bf_vddk_done_fn *done;
    void *data;
};

static struct {
    char root[512];
    long slow_ms, error_at, break_at, no_blocks;
    bf_vddk_log_fn *warn;
    bool started;
} lib;

struct connection {
    char snapshot[128];
};

/* One open disk, one worker. */
struct handle {
    int fd;
    uint64_t sectors;
    atomic_bool in_call;
    atomic_bool stopping;
    pthread_t worker;
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct job *first, **last;
    unsigned pending;
    long reads;
};

__attribute__((format(printf, 1, 2))) static void warn(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    lib.warn(format, args);
    va_end(args);
}

static bool read_file(const char *name, char *text, size_t size)
{
    char path[1024];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", lib.root, name);
    file = fopen(path, "re");
    if (!file)
        return false;
    size_t length = fread(text, 1, size - 1, file);
    fclose(file);
    text[length] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return true;
}

bf_vddk_error VixDiskLib_InitEx(uint32_t major, uint32_t minor, bf_vddk_log_fn *log,
                                bf_vddk_log_fn *warn_fn, bf_vddk_log_fn *panic, const char *libdir,
                                const char *config)
{
    char path[1024], line[1024], *value;

    (void)minor;
    (void)config;
    assert(!lib.started && major >= 6 && log && warn_fn && panic);
    lib.started = true;
    lib.warn = warn_fn;
    snprintf(path, sizeof(path), "%s/standin.conf", libdir);
    FILE *file = fopen(path, "re");
    if (!file)
        return E_NOT_FOUND;
    while (fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        value = strchr(line, '=');
        if (!value)
            continue;
        *value++ = '\0';
        if (strcmp(line, "root") == 0)
            snprintf(lib.root, sizeof(lib.root), "%s", value);
        else if (strcmp(line, "slow_ms") == 0)
            lib.slow_ms = strtol(value, NULL, 10);
        else if (strcmp(line, "error_at") == 0)
            lib.error_at = strtol(value, NULL, 10);
        else if (strcmp(line, "break_at") == 0)
            lib.break_at = strtol(value, NULL, 10);
        else if (strcmp(line, "no_blocks") == 0)
            lib.no_blocks = strtol(value, NULL, 10);
    }
    fclose(file);
    return BF_VDDK_OK;
}

void VixDiskLib_Exit(void)
{
    assert(lib.started);
    lib.started = false;
}

char *VixDiskLib_GetErrorText(bf_vddk_error error, const char *locale)
{
    (void)locale;
    return strdup(error == E_LOGIN       ? "Incorrect user name or password"
                  : error == E_HOST      ? "The server refused connection"
                  : error == E_NOT_FOUND ? "A file was not found"
                  : error == E_ARGUMENT  ? "One of the parameters supplied is invalid"
                                         : "Unknown error");
}

void VixDiskLib_FreeErrorText(char *text)
{
    free(text);
}

/* Larger than the part that is known, as the real one is. */
struct bf_vddk_connect *VixDiskLib_AllocateConnectParams(void)
{
    return calloc(1, sizeof(struct bf_vddk_connect) + 256);
}

void VixDiskLib_FreeConnectParams(struct bf_vddk_connect *params)
{
    free(params);
}

static bf_vddk_error check_login(const struct bf_vddk_connect *params)
{
    char user[256], password[256], thumbprint[128];

    if (!read_file("user", user, sizeof(user)) ||
        !read_file("password", password, sizeof(password)))
        return E_HOST;
    if (read_file("tls/thumbprint", thumbprint, sizeof(thumbprint)) &&
        (!params->thumbprint || strcmp(thumbprint, params->thumbprint) != 0)) {
        warn("SSL: the certificate's thumbprint is not %s",
             params->thumbprint ? params->thumbprint : "(none)");
        return E_LOGIN;
    }
    if (strcmp(user, params->credentials.uid.user) != 0 ||
        strcmp(password, params->credentials.uid.password) != 0)
        return E_LOGIN;
    return BF_VDDK_OK;
}

bf_vddk_error VixDiskLib_ConnectEx(const struct bf_vddk_connect *params, char read_only,
                                   const char *snapshot, const char *transports,
                                   void **ret_connection)
{
    char path[256], machine[128];
    bf_vddk_error error = check_login(params);

    assert(lib.started && read_only && snapshot && transports);
    if (error != BF_VDDK_OK)
        return error;
    assert(strncmp(params->vm_spec, "moref=", 6) == 0);
    snprintf(path, sizeof(path), "frozen/%s/vm", snapshot);
    if (!read_file(path, machine, sizeof(machine)) || strcmp(machine, params->vm_spec + 6) != 0) {
        warn("no snapshot %s of %s", snapshot, params->vm_spec);
        return E_NOT_FOUND;
    }
    struct connection *connection = calloc(1, sizeof(*connection));
    snprintf(connection->snapshot, sizeof(connection->snapshot), "%s", snapshot);
    *ret_connection = connection;
    return BF_VDDK_OK;
}

bf_vddk_error VixDiskLib_Disconnect(void *connection)
{
    free(connection);
    return BF_VDDK_OK;
}

/* --- reading --- */

static void note_connection(const char *what)
{
    char path[1024];

    snprintf(path, sizeof(path), "%s/connections", lib.root);
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, what, strlen(what)) < 0)
        abort();
    close(fd);
}

static bf_vddk_error read_now(struct handle *handle, const struct job *job)
{
    size_t length = job->count * BF_VDDK_SECTOR, done = 0;

    handle->reads++;
    if (lib.slow_ms)
        usleep((useconds_t)lib.slow_ms * 1000);
    if (handle->reads == lib.error_at || (lib.break_at && handle->reads >= lib.break_at))
        return lib.break_at ? E_HOST : E_IO;
    while (done < length) {
        ssize_t n = pread(handle->fd, job->buffer + done, length - done,
                          (off_t)(job->start * BF_VDDK_SECTOR + done));
        if (n <= 0)
            return E_IO;
        done += (size_t)n;
    }
    return BF_VDDK_OK;
}

static void *work(void *user)
{
    struct handle *handle = user;

    pthread_mutex_lock(&handle->lock);
    for (;;) {
        while (!handle->first && !handle->stopping)
            pthread_cond_wait(&handle->news, &handle->lock);
        if (!handle->first)
            break;
        struct job *job = handle->first;
        handle->first = job->next;
        if (!handle->first)
            handle->last = &handle->first;
        pthread_mutex_unlock(&handle->lock);
        job->done(job->data, read_now(handle, job));
        free(job);
        pthread_mutex_lock(&handle->lock);
        handle->pending--;
        pthread_cond_broadcast(&handle->news);
    }
    pthread_mutex_unlock(&handle->lock);
    return NULL;
}

bf_vddk_error VixDiskLib_Open(void *user, const char *path, uint32_t flags, void **ret_handle)
{
    const struct connection *connection = user;
    const char *inside = strstr(path, "] ");
    char name[512], full[2048];
    struct stat st;

    assert(flags == BF_VDDK_OPEN_READ_ONLY && inside);
    snprintf(name, sizeof(name), "%s", inside + 2);
    for (char *at = name; *at; at++)
        if (*at == '/')
            *at = '_';
    snprintf(full, sizeof(full), "%s/frozen/%s/%s.raw", lib.root, connection->snapshot, name);
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        if (fd >= 0)
            close(fd);
        return E_NOT_FOUND;
    }
    struct handle *handle = calloc(1, sizeof(*handle));
    handle->fd = fd;
    handle->sectors = (uint64_t)st.st_size / BF_VDDK_SECTOR;
    handle->last = &handle->first;
    pthread_mutex_init(&handle->lock, NULL);
    pthread_cond_init(&handle->news, NULL);
    pthread_create(&handle->worker, NULL, work, handle);
    *ret_handle = handle;
    note_connection("open\n");
    return BF_VDDK_OK;
}

bf_vddk_error VixDiskLib_ReadAsync(void *user, uint64_t start, uint64_t count, uint8_t *buffer,
                                   bf_vddk_done_fn *done, void *data)
{
    struct handle *handle = user;

    /* Two calls at a time on one handle is what breaks the real one. */
    assert(!atomic_exchange(&handle->in_call, true));
    bool inside = start <= handle->sectors && count <= handle->sectors - start;
    if (inside) {
        struct job *job = calloc(1, sizeof(*job));
        *job = (struct job){
            .start = start, .count = count, .buffer = buffer, .done = done, .data = data};
        pthread_mutex_lock(&handle->lock);
        *handle->last = job;
        handle->last = &job->next;
        handle->pending++;
        pthread_cond_broadcast(&handle->news);
        pthread_mutex_unlock(&handle->lock);
    }
    atomic_store(&handle->in_call, false);
    return inside ? BF_VDDK_ASYNC : E_ARGUMENT;
}

bf_vddk_error VixDiskLib_Wait(void *user)
{
    struct handle *handle = user;

    pthread_mutex_lock(&handle->lock);
    while (handle->pending)
        pthread_cond_wait(&handle->news, &handle->lock);
    pthread_mutex_unlock(&handle->lock);
    return BF_VDDK_OK;
}

bf_vddk_error VixDiskLib_Close(void *user)
{
    struct handle *handle = user;

    VixDiskLib_Wait(handle);
    pthread_mutex_lock(&handle->lock);
    handle->stopping = true;
    pthread_cond_broadcast(&handle->news);
    pthread_mutex_unlock(&handle->lock);
    pthread_join(handle->worker, NULL);
    note_connection("close\n");
    close(handle->fd);
    free(handle);
    return BF_VDDK_OK;
}

const char *VixDiskLib_GetTransportMode(void *handle)
{
    (void)handle;
    return "nbdssl";
}

bf_vddk_error VixDiskLib_GetInfo(void *handle, struct bf_vddk_info **ret_info)
{
    *ret_info = calloc(1, sizeof(struct bf_vddk_info) + 128);
    (*ret_info)->capacity = ((struct handle *)handle)->sectors;
    return BF_VDDK_OK;
}

void VixDiskLib_FreeInfo(struct bf_vddk_info *info)
{
    free(info);
}

bf_vddk_error VixDiskLib_QueryAllocatedBlocks(void *user, uint64_t start, uint64_t count,
                                              uint64_t chunk, struct bf_vddk_blocks **ret_blocks)
{
    struct handle *handle = user;
    uint64_t at = start, end = start + count;
    size_t capacity = count / chunk + 1;

    if (lib.no_blocks)
        return BF_VDDK_NOT_SUPPORTED;
    if (chunk < BF_VDDK_CHUNK_SECTORS || start % chunk || count % chunk || end > handle->sectors ||
        count / chunk > BF_VDDK_CHUNKS_MAX)
        return E_ARGUMENT;
    struct bf_vddk_blocks *blocks =
        calloc(1, sizeof(*blocks) + capacity * sizeof(blocks->blocks[0]));
    while (at < end) {
        off_t data = lseek(handle->fd, (off_t)(at * BF_VDDK_SECTOR), SEEK_DATA);
        if (data < 0 || (uint64_t)data >= end * BF_VDDK_SECTOR)
            break;
        off_t hole = lseek(handle->fd, data, SEEK_HOLE);
        uint64_t from = (uint64_t)data / BF_VDDK_SECTOR / chunk * chunk;
        uint64_t to =
            ((uint64_t)hole + chunk * BF_VDDK_SECTOR - 1) / BF_VDDK_SECTOR / chunk * chunk;
        to = to > end ? end : to;
        from = from < at ? at : from;
        blocks->blocks[blocks->count].offset = from;
        blocks->blocks[blocks->count++].length = to - from;
        at = to;
    }
    *ret_blocks = blocks;
    return BF_VDDK_OK;
}

bf_vddk_error VixDiskLib_FreeBlockList(struct bf_vddk_blocks *blocks)
{
    free(blocks);
    return BF_VDDK_OK;
}
