/* SPDX-License-Identifier: Apache-2.0 */
/* Files and block devices by io_uring.
 *
 * Data goes past the page cache (O_DIRECT) in whole pages; what is not a whole page (an odd tail, a
 * part that a change map cut) goes through the page cache.  Invariant: a page is written either
 * direct or buffered, never both by two requests at a time, because a request goes direct only for
 * the pages that lie wholly within it and requests never overlap.  Without this, writing back
 * a half-stale cached page could undo a direct write beside it.
 *
 * A request is carried out piece by piece: head (buffered), middle (direct), tail (buffered); a
 * short write is just a shorter piece.  One piece of a request is in the kernel at a time.
 *
 * The kernel may refuse io_uring (sysctl, seccomp); then requests are carried out at once by
 * plain system calls: slower, the same results.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "nbd/die_point.h"
#include "nbd/durable.h"
#include "nbd/endpoint.h"
#include "nbd/file_identity.h"

#define PAGE ((uint64_t)4096) /* also a multiple of every logical block size in use */
#define RING_ENTRIES 128
#define ZEROES_LENGTH ((uint64_t)256 << 10)
/* fdatasync may have to write all that the page cache holds. */
#define FLUSH_DEADLINES 10

struct file_endpoint {
    struct bf_endpoint base;
    int buffered_fd;
    int direct_fd; /* -1: the file system or device refuses O_DIRECT */
    bool direct;   /* use it */
    bool is_device;
    bool has_ring;
    bool registered; /* the arena is known to the ring as buffer 0 */
    struct io_uring ring;
    struct bf_request *running[RING_ENTRIES]; /* base.in_kernel of them */
    unsigned char *arena;
    size_t arena_length;
    int zero_mode; /* fallocate mode; 0: zeroes are written */
};

/* Written where nothing can be punched; costs memory only then. */
static unsigned char zeroes[ZEROES_LENGTH] __attribute__((aligned(PAGE)));

/* A step of a request: what the next system call does. */
struct piece {
    int fd;
    uint64_t length;
    int mode; /* of fallocate; 0: read, write or sync */
    bool direct;
    unsigned char *buffer;
};

static struct file_endpoint *self(struct bf_endpoint *endpoint)
{
    return (struct file_endpoint *)(void *)endpoint;
}

/* The middle part that consists of whole pages, or the head or tail around it. */
static uint64_t piece_length(uint64_t at, uint64_t rest, bool *ret_whole_pages)
{
    uint64_t into_page = at % PAGE;

    *ret_whole_pages = !into_page && rest >= PAGE;
    if (*ret_whole_pages)
        return rest & ~(PAGE - 1);
    return rest < PAGE - into_page ? rest : PAGE - into_page;
}

static struct piece next_piece(const struct file_endpoint *file, const struct bf_request *request)
{
    uint64_t at = request->offset + request->progress;
    struct piece piece = {.fd = file->buffered_fd};
    bool whole_pages;

    if (request->kind == BF_REQUEST_FLUSH)
        return piece;
    piece.length = piece_length(at, request->length - request->progress, &whole_pages);
    if (request->kind == BF_REQUEST_ZERO) {
        piece.mode = whole_pages ? file->zero_mode : 0;
        piece.buffer = zeroes;
        if (!piece.mode && piece.length > ZEROES_LENGTH)
            piece.length = ZEROES_LENGTH;
    } else {
        piece.buffer = request->buffer + request->progress;
    }
    piece.direct =
        !piece.mode && whole_pages && file->direct && (uintptr_t)piece.buffer % PAGE == 0;
    if (piece.direct)
        piece.fd = file->direct_fd;
    return piece;
}

static bool in_arena(const struct file_endpoint *file, const struct piece *piece)
{
    return file->registered && piece->buffer >= file->arena &&
           piece->buffer + piece->length <= file->arena + file->arena_length;
}

/* What take_result() must know: by then the endpoint may have changed its ways. */
static void note_piece(struct bf_request *request, const struct piece *piece)
{
    request->piece = piece->length;
    request->piece_mode = piece->mode;
    request->piece_direct = piece->direct;
}

static void fill_sqe(const struct file_endpoint *file, struct io_uring_sqe *sqe,
                     struct bf_request *request)
{
    struct piece piece = next_piece(file, request);
    uint64_t at = request->offset + request->progress;
    unsigned length = (unsigned)piece.length;

    note_piece(request, &piece);
    if (!piece.mode)
        length = bf_hook_short(length);
    if (request->kind == BF_REQUEST_FLUSH)
        io_uring_prep_fsync(sqe, piece.fd, IORING_FSYNC_DATASYNC);
    else if (piece.mode)
        io_uring_prep_fallocate(sqe, piece.fd, piece.mode, (off_t)at, (off_t)piece.length);
    else if (request->kind == BF_REQUEST_READ && in_arena(file, &piece))
        io_uring_prep_read_fixed(sqe, piece.fd, piece.buffer, length, at, 0);
    else if (request->kind == BF_REQUEST_READ)
        io_uring_prep_read(sqe, piece.fd, piece.buffer, length, at);
    else if (in_arena(file, &piece))
        io_uring_prep_write_fixed(sqe, piece.fd, piece.buffer, length, at, 0);
    else
        io_uring_prep_write(sqe, piece.fd, piece.buffer, length, at);
    io_uring_sqe_set_data(sqe, request);
}

/* The same piece by a plain system call: 0 or more, or a negative errno. */
static ssize_t run_piece(const struct file_endpoint *file, struct bf_request *request)
{
    struct piece piece = next_piece(file, request);
    off_t at = (off_t)(request->offset + request->progress);
    ssize_t rc;

    note_piece(request, &piece);
    if (request->kind == BF_REQUEST_FLUSH)
        rc = fdatasync(piece.fd);
    else if (piece.mode)
        rc = fallocate(piece.fd, piece.mode, at, (off_t)piece.length);
    else if (request->kind == BF_REQUEST_READ)
        rc = pread(piece.fd, piece.buffer, piece.length, at);
    else
        rc = pwrite(piece.fd, piece.buffer, piece.length, at);
    return rc < 0 ? -errno : rc;
}

/* fallocate was refused: remember the next best way. */
static void degrade_zero(struct file_endpoint *file, int mode, int error)
{
    int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

    if (mode != file->zero_mode)
        return; /* another request met it before */
    file->zero_mode = mode == punch ? FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE : 0;
    bf_log_debug("%s: fallocate mode %d refused (%s), %s", file->base.name, mode,
                 strerrordesc_np(error), file->zero_mode ? "zeroing ranges" : "writing zeroes");
}

/* Was the way refused and not the data?  Then the same piece is run in the next best way. */
static bool try_another_way(struct file_endpoint *file, const struct bf_request *request,
                            ssize_t result)
{
    if (result == -EAGAIN || result == -EINTR)
        return true;
    if (request->piece_mode &&
        (result == -EOPNOTSUPP || result == -EINVAL || result == -ENODEV || result == -ENOTTY)) {
        degrade_zero(file, request->piece_mode, (int)-result);
        return true;
    }
    if (request->piece_direct && result == -EINVAL) {
        /* Some file systems accept the flag and refuse the transfer. */
        bf_log_debug("%s: O_DIRECT refused for %" PRIu64 " bytes at %" PRIu64
                     ", going through the page cache",
                     file->base.name, request->piece, request->offset + request->progress);
        file->direct = false;
        return true;
    }
    return false;
}

/* Is the flush done when fdatasync has said so?  A journalling file system may have failed to
 * commit by itself since the last one: ext4 (Linux 6.18, seen; errors=continue) then says yes once
 * or for ever, and what was written is zeroes after a recovery.  It notices its dead journal when
 * something is to be changed; so the time of the file is, and the second fdatasync is refused.
 * Nothing new has to be written for it. */
static bool flush_proven(const struct file_endpoint *file, struct bf_request *request)
{
    if (file->is_device || request->progress)
        return true;
    request->progress = 1;
    /* A file that is not ours may refuse its time; what it holds is not in doubt for that. */
    (void)futimens(file->buffered_fd, NULL);
    return false;
}

/* Take one result in; true: the request is finished, with *ret_error. */
static bool take_result(struct file_endpoint *file, struct bf_request *request, ssize_t result,
                        int *ret_error)
{
    *ret_error = 0;
    if (result < 0) {
        *ret_error = (int)-result;
        return !try_another_way(file, request, result);
    }
    if (request->kind == BF_REQUEST_FLUSH)
        return flush_proven(file, request);
    if (!request->piece_mode && result == 0) {
        /* The file became shorter under us, or a device that takes nothing more. */
        *ret_error = request->kind == BF_REQUEST_READ ? EIO : ENOSPC;
        return true;
    }
    request->progress += request->piece_mode ? request->piece : (uint64_t)result;
    return request->progress >= request->length;
}

static bool start_sync(struct file_endpoint *file, struct bf_request *request)
{
    int error;

    while (!take_result(file, request, run_piece(file, request), &error))
        ;
    bf_endpoint_finish(&file->base, request, error);
    return true;
}

static bool queue_piece(struct file_endpoint *file, struct bf_request *request)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&file->ring);

    if (!sqe) {
        io_uring_submit(&file->ring);
        sqe = io_uring_get_sqe(&file->ring);
    }
    if (!sqe)
        return false;
    fill_sqe(file, sqe, request);
    return true;
}

static bool file_start(struct bf_endpoint *endpoint, struct bf_request *request)
{
    struct file_endpoint *file = self(endpoint);

    if (!file->has_ring)
        return start_sync(file, request);
    if (file->base.in_kernel == RING_ENTRIES || !queue_piece(file, request))
        return false;
    request->issued_ms = bf_now_ms();
    file->running[file->base.in_kernel++] = request;
    return true;
}

static uint64_t request_deadline(const struct file_endpoint *file, const struct bf_request *request)
{
    uint64_t allowed = file->base.options.deadline_ms;

    return request->issued_ms +
           (request->kind == BF_REQUEST_FLUSH ? allowed * FLUSH_DEADLINES : allowed);
}

static unsigned file_prepare(struct bf_endpoint *endpoint, struct pollfd *fds, unsigned max,
                             uint64_t now_ms, uint64_t *wake_ms)
{
    struct file_endpoint *file = self(endpoint);

    (void)max, (void)now_ms;
    if (!file->base.in_kernel)
        return 0;
    io_uring_submit(&file->ring);
    for (unsigned i = 0; i < file->base.in_kernel; i++) {
        uint64_t deadline = request_deadline(file, file->running[i]);
        if (deadline < *wake_ms)
            *wake_ms = deadline;
    }
    fds[0] = (struct pollfd){.fd = file->ring.ring_fd, .events = POLLIN};
    return 1;
}

static void forget_running(struct file_endpoint *file, const struct bf_request *request)
{
    for (unsigned i = 0; i < file->base.in_kernel; i++) {
        if (file->running[i] == request) {
            file->running[i] = file->running[--file->base.in_kernel];
            return;
        }
    }
}

static int check_deadlines(const struct file_endpoint *file, uint64_t now_ms, struct bf_error *err)
{
    for (unsigned i = 0; i < file->base.in_kernel; i++) {
        const struct bf_request *request = file->running[i];
        if (now_ms >= request_deadline(file, request))
            return bf_fail(err, BF_E_DEADLINE, 0,
                           "%s: the kernel did not finish a request of %" PRIu64
                           " bytes at %" PRIu64 " in %" PRIu64 " s",
                           file->base.name, request->length, request->offset,
                           (now_ms - request->issued_ms) / 1000);
    }
    return 0;
}

static int file_handle(struct bf_endpoint *endpoint, const struct pollfd *fds, unsigned count,
                       uint64_t now_ms, struct bf_error *err)
{
    struct file_endpoint *file = self(endpoint);
    struct io_uring_cqe *cqe;

    (void)fds, (void)count;
    if (!file->has_ring)
        return 0;
    while (io_uring_peek_cqe(&file->ring, &cqe) == 0) {
        struct bf_request *request = io_uring_cqe_get_data(cqe);
        int error, result = cqe->res;
        io_uring_cqe_seen(&file->ring, cqe);
        if (!take_result(file, request, result, &error)) {
            request->issued_ms = now_ms;
            if (queue_piece(file, request))
                continue;
            error = EBUSY; /* cannot be: the ring has room for all of `running` */
        }
        forget_running(file, request);
        bf_endpoint_finish(endpoint, request, error);
    }
    return check_deadlines(file, now_ms, err);
}

static void file_set_arena(struct bf_endpoint *endpoint, void *arena, size_t length)
{
    struct file_endpoint *file = self(endpoint);
    struct iovec whole = {.iov_base = arena, .iov_len = length};

    file->arena = arena;
    file->arena_length = length;
    if (!file->has_ring)
        return;
    int rc = io_uring_register_buffers(&file->ring, &whole, 1);
    file->registered = rc == 0;
    if (rc) /* RLIMIT_MEMLOCK: it works without, too */
        bf_log_debug("%s: buffers are not registered: %s", endpoint->name, strerrordesc_np(-rc));
}

static void file_close(struct bf_endpoint *endpoint)
{
    struct file_endpoint *file = self(endpoint);

    if (file->has_ring)
        io_uring_queue_exit(&file->ring);
    if (file->direct_fd >= 0)
        close(file->direct_fd);
    if (file->buffered_fd >= 0)
        close(file->buffered_fd);
    free(file);
}

static int add_span(uint64_t from, uint64_t to, enum bf_extent_type type,
                    struct bf_extent_list *list, struct bf_error *err)
{
    return from < to ? bf_extent_list_add(list, from, to - from, type, err) : 0;
}

/* Holes by SEEK_DATA and SEEK_HOLE; a device or file system without them is all data. */
static int file_allocation(struct bf_endpoint *endpoint, uint64_t offset, uint64_t length,
                           struct bf_extent_list *list, struct bf_error *err)
{
    struct file_endpoint *file = self(endpoint);
    uint64_t at = offset, end = offset + length;

    if (file->is_device)
        return add_span(offset, end, BF_EXTENT_DATA, list, err);
    while (at < end) {
        off_t data = lseek(file->buffered_fd, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return add_span(at, end, BF_EXTENT_ZERO, list, err);
        if (data < 0)
            return add_span(at, end, BF_EXTENT_DATA, list, err);
        off_t hole = lseek(file->buffered_fd, data, SEEK_HOLE);
        uint64_t from = (uint64_t)data < end ? (uint64_t)data : end;
        uint64_t to = hole > data && (uint64_t)hole < end ? (uint64_t)hole : end;
        if (add_span(at, from, BF_EXTENT_ZERO, list, err) ||
            add_span(from, to, BF_EXTENT_DATA, list, err))
            return -1;
        at = to;
    }
    return 0;
}

static const struct bf_endpoint_ops file_ops = {
    .name = "file",
    .close = file_close,
    .start = file_start,
    .prepare = file_prepare,
    .handle = file_handle,
    .set_arena = file_set_arena,
    .allocation = file_allocation,
};

static int open_failed(const char *path, bool write, struct bf_error *err)
{
    enum bf_error_code code = BF_E_ENDPOINT_OPEN;

    if (write && (errno == EROFS || errno == EACCES || errno == EPERM))
        code = BF_E_ENDPOINT_READONLY;
    else if (errno == EBUSY || errno == ETXTBSY)
        code = BF_E_IN_USE;
    return bf_fail(err, code, errno, "cannot open \"%s\"", path);
}

/* A copy that was killed keeps its lock until the kernel has ended its last requests.  This waits
 * for that, and so also makes sure that none of them is written after ours. */
#define LOCK_WAIT_MS 3000
#define LOCK_POLL_MS 20

static int open_waiting(const char *path, int flags)
{
    struct bf_deadline deadline = bf_deadline_in(LOCK_WAIT_MS);
    int fd;

    while ((fd = open(path, flags, 0600)) < 0 && errno == EBUSY && (flags & O_EXCL) &&
           !bf_deadline_passed(deadline))
        bf_sleep_ms(LOCK_POLL_MS);
    return fd;
}

static bool lock_waiting(int fd)
{
    struct bf_deadline deadline = bf_deadline_in(LOCK_WAIT_MS);

    while (flock(fd, LOCK_EX | LOCK_NB)) {
        if (bf_deadline_passed(deadline))
            return false;
        bf_sleep_ms(LOCK_POLL_MS);
    }
    return true;
}

/* O_EXCL keeps us off a device that is mounted or belongs to an array. */
static int open_fds(struct file_endpoint *file, const char *path, struct bf_error *err)
{
    bool write = file->base.options.write;
    int flags = (write ? O_RDWR : O_RDONLY) | O_CLOEXEC;
    struct stat st;

    bool there = stat(path, &st) == 0;
    if (there && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return bf_fail(err, BF_E_URI, 0, "\"%s\" is neither a regular file nor a block device",
                       path);
    if (there && S_ISBLK(st.st_mode) && write)
        flags |= O_EXCL;
    else if (write && !there)
        flags |= O_CREAT;
    /* A disk holds its users' secrets: nobody else reads the copy unless the file was made so. */
    file->buffered_fd = open_waiting(path, flags);
    if (file->buffered_fd < 0)
        return open_failed(path, write, err);
    if (fstat(file->buffered_fd, &st))
        return bf_fail(err, BF_E_ENDPOINT_OPEN, errno, "cannot look at \"%s\"", path);
    file->is_device = S_ISBLK(st.st_mode);
    file->base.reads_zero = !file->is_device && st.st_size == 0;
    file->base.identity = bf_file_identity(file->buffered_fd, file->base.name);
    if (write && !file->is_device && !lock_waiting(file->buffered_fd))
        return bf_fail(err, BF_E_IN_USE, 0, "another copy writes to \"%s\"", path);
    file->base.size = (uint64_t)st.st_size;
    if (file->is_device && ioctl(file->buffered_fd, BLKGETSIZE64, &file->base.size))
        return bf_fail(err, BF_E_ENDPOINT_OPEN, errno, "cannot get the size of \"%s\"", path);
    file->direct_fd = open(path, (flags & ~(O_CREAT | O_EXCL)) | O_DIRECT);
    file->direct = file->direct_fd >= 0;
    if (!file->direct)
        bf_log_debug("%s: no O_DIRECT (%s), going through the page cache", path,
                     strerrordesc_np(errno));
    return 0;
}

static int grow(struct file_endpoint *file, const char *path, struct bf_error *err)
{
    uint64_t want = file->base.options.create_size;

    if (file->is_device || file->base.size >= want)
        return 0;
    if (ftruncate(file->buffered_fd, (off_t)want))
        return bf_fail(err, errno == ENOSPC || errno == EFBIG ? BF_E_TARGET_FULL : BF_E_WRITE_ERROR,
                       errno, "cannot make \"%s\" %" PRIu64 " bytes long", path, want);
    file->base.size = want;
    /* The name of a new file must be as durable as its content. */
    if (bf_sync_directory_of(path))
        return bf_fail(err, BF_E_ENDPOINT_OPEN, errno, "cannot sync the directory of \"%s\"", path);
    return 0;
}

static void open_ring(struct file_endpoint *file)
{
    /* Not DEFER_TASKRUN: completions would then not wake a poll() on the ring. */
    struct io_uring_params params = {.flags =
                                         IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER};
    int rc = io_uring_queue_init_params(RING_ENTRIES, &file->ring, &params);

    if (rc == -EINVAL) /* a kernel before 6.0 */
        rc = io_uring_queue_init(RING_ENTRIES, &file->ring, 0);
    file->has_ring = rc == 0;
    if (rc)
        bf_log_debug("%s: no io_uring (%s), using plain system calls", file->base.name,
                     strerrordesc_np(-rc));
}

static int open_file(struct file_endpoint *file, const char *path, struct bf_error *err)
{
    if (open_fds(file, path, err) || grow(file, path, err))
        return -1;
    open_ring(file);
    /* On devices, too, the kernel punches only what then reads as zero. */
    file->zero_mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    file->base.can_zero = true;
    return 0;
}

int bf_endpoint_file_open(const struct bf_uri *uri, const struct bf_endpoint_options *options,
                          struct bf_endpoint **ret_endpoint, struct bf_error *err)
{
    struct file_endpoint *file = bf_xcalloc(1, sizeof(*file));

    bf_endpoint_init(&file->base, &file_ops, uri, options);
    file->buffered_fd = -1;
    file->direct_fd = -1;
    if (open_file(file, uri->path, err)) {
        bf_endpoint_close(&file->base);
        return -1;
    }
    *ret_endpoint = &file->base;
    return 0;
}
