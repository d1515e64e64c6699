/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload of the lab's guests: a file of numbered, checksummed records, each on the disk
 * before the next one begins.  What a replica holds of it shows how old and how whole it is.
 *
 *   records check FILE   print "last=N missing=M": the highest number found, and how many of
 *                        1..N are absent or damaged
 *   records run FILE     append a record every 200 ms, fsync each, and print "RECORD last=N" every
 *                        2 s.  Ends with status 0 after SIGTERM or the ACPI power button and then
 *                        prints "RECORDS stopped last=N".
 *
 * A record is one line of 40 bytes: number, wall clock in ms, CRC-32 of those two.
 * Linked statically, because one guest has no C library.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/input.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RECORD_BYTES 40
#define BODY_BYTES 30 /* "%012 %016 " */
#define INTERVAL_MS 200
#define REPORT_EVERY 10
#define MAX_INPUTS 16

static volatile sig_atomic_t stop_asked;

static void on_signal(int sig)
{
    (void)sig;
    stop_asked = 1;
}

static uint32_t crc32_of(const char *data, size_t len)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned char)data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
    }
    return ~crc;
}

static void record_format(char line[RECORD_BYTES + 1], uint64_t number)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(line, BODY_BYTES + 1, "%012" PRIu64 " %016" PRIu64 " ", number,
             (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
    snprintf(line + BODY_BYTES, RECORD_BYTES + 1 - BODY_BYTES, "%08" PRIx32 ".\n",
             crc32_of(line, BODY_BYTES));
}

/* Returns the number in a sound record and 0 for a damaged one. */
static uint64_t record_number(const char line[RECORD_BYTES])
{
    char sum[RECORD_BYTES - BODY_BYTES + 1];

    snprintf(sum, sizeof(sum), "%08" PRIx32 ".\n", crc32_of(line, BODY_BYTES));
    if (memcmp(sum, line + BODY_BYTES, RECORD_BYTES - BODY_BYTES) != 0)
        return 0;
    return strtoull(line, NULL, 10);
}

struct verdict {
    uint64_t last;
    uint64_t missing;
};

/* Records lie at (number - 1) * RECORD_BYTES, so a hole in the file is a gap in the numbers. */
static struct verdict records_check(FILE *file)
{
    struct verdict verdict = {0, 0};
    char line[RECORD_BYTES];
    uint64_t place = 0, sound = 0;
    size_t got;

    rewind(file);
    while ((got = fread(line, 1, sizeof(line), file)) > 0) {
        place++;
        if (got == sizeof(line) && record_number(line) == place)
            sound++;
        verdict.last = place;
    }
    verdict.missing = verdict.last - sound;
    return verdict;
}

/* Opens every input device; which of them is the power button does not matter. */
static nfds_t open_inputs(struct pollfd fds[MAX_INPUTS])
{
    nfds_t count = 0;

    for (int i = 0; i < MAX_INPUTS; i++) {
        char path[32];
        int fd;

        snprintf(path, sizeof(path), "/dev/input/event%d", i);
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0)
            fds[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    return count;
}

static bool power_pressed(const struct pollfd *fds, nfds_t count)
{
    struct input_event event;
    bool pressed = false;

    for (nfds_t i = 0; i < count; i++)
        while (fds[i].revents & POLLIN &&
               read(fds[i].fd, &event, sizeof(event)) == (ssize_t)sizeof(event))
            if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1)
                pressed = true;
    return pressed;
}

static int records_run(FILE *file)
{
    struct pollfd inputs[MAX_INPUTS];
    nfds_t input_count = open_inputs(inputs);
    uint64_t last = records_check(file).last;
    char line[RECORD_BYTES + 1];

    while (!stop_asked) {
        int ready = poll(inputs, input_count, INTERVAL_MS);

        if (ready > 0 && power_pressed(inputs, input_count))
            break;
        if (ready != 0) /* other keys, or a signal */
            continue;
        record_format(line, last + 1);
        if (pwrite(fileno(file), line, RECORD_BYTES, (off_t)(last * RECORD_BYTES)) !=
                RECORD_BYTES ||
            fsync(fileno(file)) != 0) {
            perror("records: cannot write");
            return 1;
        }
        last++;
        if (last % REPORT_EVERY == 0)
            printf("RECORD last=%" PRIu64 "\n", last);
    }
    printf("RECORDS stopped last=%" PRIu64 "\n", last);
    return 0;
}

int main(int argc, char **argv)
{
    bool run = argc == 3 && strcmp(argv[1], "run") == 0;
    struct sigaction action = {.sa_handler = on_signal};
    FILE *file;

    if (!run && (argc != 3 || strcmp(argv[1], "check") != 0)) {
        fprintf(stderr, "usage: records run|check FILE\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigaction(SIGTERM, &action, NULL);
    file = fdopen(open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0644), "r+");
    if (file == NULL) {
        perror(argv[2]);
        return 1;
    }
    if (run)
        return records_run(file);
    struct verdict verdict = records_check(file);
    printf("last=%" PRIu64 " missing=%" PRIu64 "\n", verdict.last, verdict.missing);
    return 0;
}
