/* SPDX-License-Identifier: Apache-2.0 */
/* What runs in a mover: it takes TCP connections and starts one NBD server process for each.
 *
 *   mover-serve [-p PORT] [-w] [-x SIGNATURE] [-n LIMIT] [-r ROOT] EXPORTS SERVER [ARGUMENT...]
 *
 * SERVER is run with the connection as its standard input and output; it does TLS and NBD
 * (nbdkit --single).  A server that crashes or is killed costs its own connection only.
 *
 * EXPORTS is a directory that holds a link for each id of each attached disk, and nothing else; it
 * is brought up to date before a server starts.  An id is what the platform gave the disk: the
 * serial of a virtio disk, the unit serial number or the wwid of a SCSI disk.  An id that two disks
 * have is not exported at all: bytes of the wrong disk would be worse than none.  The disk with the
 * MBR signature of -x is the mover's own and never exported: its private key is on it.
 *
 * ROOT is for tests: disks are looked for below ROOT/sys/block and ROOT/dev.
 *
 * Without -w every disk is also set read-only in the kernel, before any server sees it.
 *
 * One thread.  Each line on standard output says what happened, for the console's log.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    DEFAULT_PORT = 10809,
    DEFAULT_LIMIT = 64,
    REFRESH_MS = 1000,
    ID_LENGTH = 128,
    MAX_LINKS = 1024,
};

struct link {
    char id[ID_LENGTH];
    char disk[64]; /* "vda"; empty: two disks have this id */
};

struct mover {
    uint16_t port;
    bool writable;
    uint32_t own; /* MBR signature of the mover's own disk; 0: none */
    int limit;
    const char *exports;
    const char *root; /* "" or where a test has its sys and dev */
    char **server;
    struct link links[MAX_LINKS];
    size_t link_count;
    int connections;
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;

    fputs("mover-serve: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

/* --- disks --- */

static ssize_t read_file(const struct mover *mover, const char *disk, const char *name,
                         char *buffer, size_t size)
{
    char path[512];
    int fd;
    ssize_t n;

    snprintf(path, sizeof path, "%s/sys/block/%s/%s", mover->root, disk, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    n = read(fd, buffer, size - 1);
    close(fd);
    if (n >= 0)
        buffer[n] = '\0';
    return n;
}

/* An id becomes a file name and part of a URI: letters, digits, '.', '-', '_' stay, blanks at its
 * ends go, the rest becomes '_'. */
static bool clean_id(const char *text, size_t length, char ret_id[ID_LENGTH])
{
    size_t n = 0;

    while (length > 0 && (isspace((unsigned char)text[0]) || text[0] == '\0')) {
        text++;
        length--;
    }
    while (length > 0 && (isspace((unsigned char)text[length - 1]) || text[length - 1] == '\0'))
        length--;
    for (; n < length && n < ID_LENGTH - 1; n++) {
        char c = text[n];
        bool plain = isalnum((unsigned char)c) || c == '-' || c == '_' || (c == '.' && n > 0);

        ret_id[n] = plain ? c : '_';
    }
    ret_id[n] = '\0';
    return n > 0;
}

static void add_link(struct mover *mover, const char *id, const char *disk)
{
    for (size_t i = 0; i < mover->link_count; i++) {
        struct link *link = &mover->links[i];

        if (strcmp(link->id, id) != 0)
            continue;
        if (strcmp(link->disk, disk) != 0)
            link->disk[0] = '\0';
        return;
    }
    if (mover->link_count == MAX_LINKS)
        return;
    struct link *link = &mover->links[mover->link_count++];

    snprintf(link->id, sizeof link->id, "%s", id);
    snprintf(link->disk, sizeof link->disk, "%s", disk);
}

static int open_disk(const struct mover *mover, const char *disk)
{
    char path[512];

    snprintf(path, sizeof path, "%s/dev/%s", mover->root, disk);
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

/* Is it the mover's own?  A disk that cannot be read is nobody's. */
static bool is_own(const struct mover *mover, const char *disk)
{
    uint8_t bytes[4];
    int fd = mover->own ? open_disk(mover, disk) : -1;
    bool own = false;

    if (fd < 0)
        return false;
    if (pread(fd, bytes, sizeof bytes, 440) == (ssize_t)sizeof bytes)
        own = ((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
               (uint32_t)bytes[3] << 24) == mover->own;
    close(fd);
    return own;
}

static bool set_read_only(const struct mover *mover, const char *disk)
{
    int one = 1;
    int fd = open_disk(mover, disk);
    bool done = fd >= 0 && ioctl(fd, BLKROSET, &one) == 0;

    if (fd >= 0)
        close(fd);
    return done;
}

static void add_disk(struct mover *mover, const char *disk)
{
    static const char *const not_disks[] = {"loop", "ram", "sr", "fd", "zram", "dm-", "md", "nbd"};
    char text[512];
    char id[ID_LENGTH];
    ssize_t n;

    for (size_t i = 0; i < sizeof not_disks / sizeof not_disks[0]; i++) {
        if (strncmp(disk, not_disks[i], strlen(not_disks[i])) == 0)
            return;
    }
    if (is_own(mover, disk) || (!mover->writable && !set_read_only(mover, disk)))
        return;
    n = read_file(mover, disk, "serial", text, sizeof text);
    if (n > 0 && clean_id(text, (size_t)n, id))
        add_link(mover, id, disk);
    n = read_file(mover, disk, "device/vpd_pg80", text, sizeof text);
    if (n > 4 && clean_id(text + 4, (size_t)n - 4, id))
        add_link(mover, id, disk);
    n = read_file(mover, disk, "device/wwid", text, sizeof text);
    if (n <= 0)
        n = read_file(mover, disk, "wwid", text, sizeof text);
    if (n > 0 && clean_id(text, (size_t)n, id))
        add_link(mover, id, disk);
}

static const struct link *find_link(const struct mover *mover, const char *id)
{
    for (size_t i = 0; i < mover->link_count; i++) {
        if (strcmp(mover->links[i].id, id) == 0)
            return &mover->links[i];
    }
    return NULL;
}

/* Remove what is not so any more. */
static void drop_old_links(const struct mover *mover, int directory)
{
    DIR *dir = fdopendir(dup(directory));
    struct dirent *entry;

    if (!dir)
        return;
    rewinddir(dir);
    while ((entry = readdir(dir))) {
        const struct link *link = find_link(mover, entry->d_name);
        char now[512] = "";
        char wanted[512];

        if (entry->d_name[0] == '.')
            continue;
        if (readlinkat(directory, entry->d_name, now, sizeof now - 1) < 0)
            continue;
        snprintf(wanted, sizeof wanted, "%s/dev/%s", mover->root, link ? link->disk : "");
        if (link && link->disk[0] && strcmp(now, wanted) == 0)
            continue;
        unlinkat(directory, entry->d_name, 0);
        say("DISK gone id=%s", entry->d_name);
    }
    closedir(dir);
}

static void refresh(struct mover *mover)
{
    char path[512];

    snprintf(path, sizeof path, "%s/sys/block", mover->root);

    DIR *dir = opendir(path);
    int directory = open(mover->exports, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dirent *entry;

    if (!dir || directory < 0)
        die("%s or %s: %s", path, mover->exports, strerror(errno));
    mover->link_count = 0;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] != '.' && strlen(entry->d_name) < sizeof mover->links[0].disk)
            add_disk(mover, entry->d_name);
    }
    closedir(dir);
    drop_old_links(mover, directory);
    for (size_t i = 0; i < mover->link_count; i++) {
        const struct link *link = &mover->links[i];

        snprintf(path, sizeof path, "%s/dev/%s", mover->root, link->disk);
        if (link->disk[0] && symlinkat(path, directory, link->id) == 0)
            say("DISK here id=%s disk=%s", link->id, link->disk);
    }
    close(directory);
}

/* --- connections --- */

static int listen_on(uint16_t port)
{
    struct sockaddr_in6 address = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT};
    struct sockaddr_in address4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    int off = 0;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc;

    if (fd >= 0) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        rc = bind(fd, (const struct sockaddr *)&address, sizeof address);
    } else { /* a kernel without IPv6 */
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        rc = bind(fd, (const struct sockaddr *)&address4, sizeof address4);
    }
    if (fd < 0 || rc != 0 || listen(fd, DEFAULT_LIMIT) != 0)
        die("port %u: %s", port, strerror(errno));
    return fd;
}

/* A peer that has vanished is to be noticed within a minute and a half. */
static void tune(int fd)
{
    static const struct {
        int level;
        int name;
        int value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},          {IPPROTO_TCP, TCP_KEEPIDLE, 30},
        {IPPROTO_TCP, TCP_KEEPINTVL, 10},       {IPPROTO_TCP, TCP_KEEPCNT, 3},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, 60000}, {IPPROTO_TCP, TCP_NODELAY, 1},
    };

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                   sizeof options[i].value);
}

static void run_server(struct mover *mover, int connection)
{
    sigset_t none;
    pid_t pid = fork();

    if (pid < 0) {
        say("CONNECTION refused: %s", strerror(errno));
        return;
    }
    if (pid > 0) {
        mover->connections++;
        say("CONNECTION pid=%d open=%d", (int)pid, mover->connections);
        return;
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* NBD servers take a blocking socket at descriptors 0 and 1. */
    if (dup2(connection, 0) < 0 || dup2(connection, 1) < 0)
        _exit(126);
    execvp(mover->server[0], mover->server);
    _exit(127);
}

static void take_connections(struct mover *mover, int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        if (mover->connections >= mover->limit) {
            say("CONNECTION refused: %d are open", mover->connections);
        } else {
            tune(fd);
            refresh(mover);
            run_server(mover, fd);
        }
        close(fd);
    }
}

static void reap(struct mover *mover)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        /* As process 1 it also gets strangers' children, which were not counted: none of them
         * outlives the start. */
        if (mover->connections > 0)
            mover->connections--;
        if (WIFSIGNALED(status))
            say("CONNECTION lost pid=%d signal=%d", (int)pid, WTERMSIG(status));
    }
}

static void serve(struct mover *mover)
{
    struct signalfd_siginfo info;
    sigset_t mask;
    int listener = listen_on(mover->port);

    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    int signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);

    if (signals < 0)
        die("signalfd: %s", strerror(errno));
    refresh(mover);
    say("MOVERMARK port=%u mode=%s disks=%zu", mover->port, mover->writable ? "rw" : "ro",
        mover->link_count);
    for (;;) {
        struct pollfd fds[] = {{.fd = listener, .events = POLLIN},
                               {.fd = signals, .events = POLLIN}};

        if (poll(fds, 2, REFRESH_MS) < 0 && errno != EINTR)
            die("poll: %s", strerror(errno));
        while (read(signals, &info, sizeof info) > 0)
            ;
        reap(mover);
        take_connections(mover, listener);
        refresh(mover);
    }
}

int main(int argc, char *argv[])
{
    static struct mover mover = {.port = DEFAULT_PORT, .limit = DEFAULT_LIMIT, .root = ""};
    int option;

    while ((option = getopt(argc, argv, "+p:wx:n:r:")) != -1) {
        if (option == 'p')
            mover.port = (uint16_t)strtoul(optarg, NULL, 10);
        else if (option == 'w')
            mover.writable = true;
        else if (option == 'x')
            mover.own = (uint32_t)strtoul(optarg, NULL, 16);
        else if (option == 'n')
            mover.limit = (int)strtoul(optarg, NULL, 10);
        else if (option == 'r')
            mover.root = optarg;
        else
            return 2;
    }
    if (argc - optind < 2 || mover.port == 0 || mover.limit <= 0) {
        fputs("usage: mover-serve [-p PORT] [-w] [-x SIGNATURE] [-n LIMIT] [-r ROOT] EXPORTS "
              "SERVER ...\n",
              stderr);
        return 2;
    }
    mover.exports = argv[optind];
    mover.server = argv + optind + 1;
    signal(SIGPIPE, SIG_IGN);
    serve(&mover);
}
