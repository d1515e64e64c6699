/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/vmdk.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/text.h"

#define SECTOR 512
#define GRAIN_MAX_SECTORS 2048 /* 1 MiB; VMware's have 128 */
#define OVERHEAD_MAX (1 << 20)
#define FLAG_COMPRESSED (1U << 16)
#define FLAG_MARKERS (1U << 17)
#define DEFLATE 1
#define MARKER_HEAD 12
#define MARKER_END 0
#define MARKER_TABLE 1
#define MARKER_FOOTER 3
#define DIRECTORY_AT_END UINT64_MAX
#define FLAG_REDUNDANT (1U << 1)

enum state { HEADER, SKIP, MARKER, GRAIN, TABLE, END };

struct bf_vmdk {
    int fd;
    uint64_t size_bytes;
    enum state state;
    uint64_t skip;        /* bytes until the next marker */
    uint64_t lba;         /* of the grain that comes */
    size_t compressed;    /* its bytes */
    size_t grain_bytes;   /* of a whole grain */
    unsigned char *input; /* what is being put together: a sector, or a grain's bytes */
    size_t have, want, input_size;
    unsigned char *grain;
    uint64_t grains;   /* that came */
    uint64_t entries;  /* of tables: grains that should have come */
    size_t tables;     /* sectors of a table that are still to come */
    bool lacks_footer; /* one must come before the end */
    bool counts;       /* `entries` names each grain once */
};

struct bf_vmdk *bf_vmdk_new(int fd, uint64_t size_bytes)
{
    struct bf_vmdk *vmdk = bf_xcalloc(1, sizeof(*vmdk));

    vmdk->fd = fd;
    vmdk->size_bytes = size_bytes;
    vmdk->want = SECTOR;
    vmdk->input_size = SECTOR;
    vmdk->input = bf_xcalloc(1, SECTOR);
    return vmdk;
}

void bf_vmdk_free(struct bf_vmdk *vmdk)
{
    if (!vmdk)
        return;
    free(vmdk->input);
    free(vmdk->grain);
    free(vmdk);
}

static uint64_t get64(const unsigned char *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return le64toh(value);
}

static uint32_t get32(const unsigned char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static int bad(struct bf_error *err, const char *what, uint64_t number)
{
    return bf_fail(err, BF_E_PROTOCOL, 0, "exported disk: %s: %llu", what,
                   (unsigned long long)number);
}

static int read_header(struct bf_vmdk *vmdk, struct bf_error *err)
{
    const unsigned char *h = vmdk->input;
    uint32_t flags = get32(h + 8);
    uint64_t capacity = get64(h + 12), grain = get64(h + 20), overhead = get64(h + 64);

    if (memcmp(h, "KDMV", 4) != 0)
        return bad(err, "no VMDK; first bytes", get32(h));
    if (!(flags & FLAG_COMPRESSED) || !(flags & FLAG_MARKERS) || h[77] != DEFLATE || h[78] != 0)
        return bad(err, "not streamOptimized; flags", flags);
    if (grain < 8 || grain > GRAIN_MAX_SECTORS || (grain & (grain - 1)))
        return bad(err, "grain size in sectors", grain);
    if (overhead < 1 || overhead > OVERHEAD_MAX)
        return bad(err, "sectors before the first grain", overhead);
    if (capacity != vmdk->size_bytes / SECTOR)
        return bf_fail(err, BF_E_DISK_CHANGED, 0, "exported disk: %llu sectors, expected %llu",
                       (unsigned long long)capacity,
                       (unsigned long long)(vmdk->size_bytes / SECTOR));
    vmdk->lacks_footer = get64(h + 56) == DIRECTORY_AT_END;
    vmdk->counts = vmdk->lacks_footer && !(flags & FLAG_REDUNDANT);
    vmdk->grain_bytes = (size_t)grain * SECTOR;
    vmdk->grain = malloc(vmdk->grain_bytes);
    /* Deflated noise is a little longer than it was. */
    size_t room = compressBound((uLong)vmdk->grain_bytes) + 2 * SECTOR;
    unsigned char *input = realloc(vmdk->input, room);
    if (input) {
        vmdk->input = input;
        vmdk->input_size = room;
    }
    if (!input || !vmdk->grain)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "exported disk");
    vmdk->skip = (overhead - 1) * SECTOR;
    vmdk->state = SKIP;
    return 0;
}

static bool is_zero(const unsigned char *data, size_t length)
{
    return length == 0 || (data[0] == 0 && memcmp(data, data + 1, length - 1) == 0);
}

static int write_grain(struct bf_vmdk *vmdk, struct bf_error *err)
{
    uLongf length = (uLongf)vmdk->grain_bytes;
    uint64_t offset = vmdk->lba * SECTOR;
    size_t wanted = vmdk->grain_bytes, done = 0;
    int rc = uncompress(vmdk->grain, &length, vmdk->input + MARKER_HEAD, (uLong)vmdk->compressed);

    vmdk->grains++;
    if (vmdk->size_bytes - offset < wanted)
        wanted = (size_t)(vmdk->size_bytes - offset);
    if (rc != Z_OK || length < wanted)
        return bad(err, "a damaged grain, at sector", vmdk->lba);
    if (is_zero(vmdk->grain, wanted))
        return 0;
    while (done < wanted) {
        ssize_t n = pwrite(vmdk->fd, vmdk->grain + done, wanted - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return bf_fail(err, errno == ENOSPC ? BF_E_TARGET_FULL : BF_E_SYSTEM, errno,
                           "writing the exported disk");
        done += (size_t)n;
    }
    return 0;
}

/* Where grains are, by sector; 0: nowhere, 1: zeroes. */
static void read_table(struct bf_vmdk *vmdk)
{
    for (size_t at = 0; at < SECTOR; at += sizeof(uint32_t))
        vmdk->entries += get32(vmdk->input + at) > 1;
    if (--vmdk->tables == 0)
        vmdk->state = MARKER;
}

/* The end is a sector of zeroes, which a hole in the stream is as well. */
static int read_end(struct bf_vmdk *vmdk, struct bf_error *err)
{
    if (vmdk->lacks_footer)
        return bad(err, "its end comes before its footer; grains so far", vmdk->grains);
    if (vmdk->counts && vmdk->grains < vmdk->entries)
        return bf_fail(err, BF_E_PROTOCOL, 0, "exported disk: %llu grains came of %llu",
                       (unsigned long long)vmdk->grains, (unsigned long long)vmdk->entries);
    vmdk->state = END;
    return 0;
}

static int read_marker(struct bf_vmdk *vmdk, struct bf_error *err)
{
    uint64_t value = get64(vmdk->input);
    uint32_t size = get32(vmdk->input + 8);

    if (size == 0) {
        uint32_t type = get32(vmdk->input + MARKER_HEAD);

        if (type == MARKER_END)
            return read_end(vmdk, err);
        if (value > OVERHEAD_MAX)
            return bad(err, "a table of so many sectors", value);
        if (type == MARKER_TABLE && value > 0) {
            vmdk->tables = (size_t)value;
            vmdk->state = TABLE;
            return 0;
        }
        if (type == MARKER_FOOTER)
            vmdk->lacks_footer = false;
        vmdk->skip = value * SECTOR;
        vmdk->state = SKIP;
        return 0;
    }
    if (value >= vmdk->size_bytes / SECTOR || value % (vmdk->grain_bytes / SECTOR))
        return bad(err, "a grain at sector", value);
    if (size > vmdk->input_size - MARKER_HEAD - SECTOR)
        return bad(err, "a grain of so many bytes", size);
    vmdk->lba = value;
    vmdk->compressed = size;
    vmdk->want = (MARKER_HEAD + size + SECTOR - 1) / SECTOR * SECTOR;
    vmdk->state = GRAIN;
    return 0;
}

/* `input` holds what was wanted. */
static int step(struct bf_vmdk *vmdk, struct bf_error *err)
{
    int rc = 0;

    if (vmdk->state == HEADER)
        rc = read_header(vmdk, err);
    else if (vmdk->state == MARKER)
        rc = read_marker(vmdk, err);
    else if (vmdk->state == TABLE)
        read_table(vmdk);
    if (rc < 0)
        return -1;
    if (vmdk->state == GRAIN) {
        if (vmdk->have < vmdk->want)
            return 0; /* the marker's sector is its beginning */
        rc = write_grain(vmdk, err);
        vmdk->state = MARKER;
    }
    vmdk->have = 0;
    vmdk->want = SECTOR;
    return rc;
}

int bf_vmdk_feed(struct bf_vmdk *vmdk, const void *data, size_t length, struct bf_error *err)
{
    const unsigned char *at = data;

    while (length > 0) {
        size_t part;

        if (vmdk->state == END)
            return 0; /* padding */
        if (vmdk->state == SKIP) {
            part = vmdk->skip < length ? (size_t)vmdk->skip : length;
            vmdk->skip -= part;
            if (vmdk->skip == 0)
                vmdk->state = MARKER;
        } else {
            part = vmdk->want - vmdk->have < length ? vmdk->want - vmdk->have : length;
            memcpy(vmdk->input + vmdk->have, at, part);
            vmdk->have += part;
            if (vmdk->have == vmdk->want && step(vmdk, err) < 0)
                return -1;
        }
        at += part;
        length -= part;
    }
    return 0;
}

int bf_vmdk_finish(const struct bf_vmdk *vmdk, struct bf_error *err)
{
    if (vmdk->state == END)
        return 0;
    return bf_fail(err, BF_E_PLATFORM_UNREACHABLE, 0,
                   "exported disk: the stream ended before the disk did");
}
