/* SPDX-License-Identifier: Apache-2.0 */
/* What vSphere sends in pieces, with a piece missing: nothing is believed then. */
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "base/xml.h"
#include "connectors/vmware/cbt.h"
#include "connectors/vmware/vmdk.h"
#include "tests/unit/tap.h"

#define SECTOR 512
#define GRAIN_SECTORS 8
#define GRAIN_BYTES ((size_t)GRAIN_SECTORS * SECTOR)
#define GRAINS 6
#define NONE 99

/* --- an exported disk --- */

struct stream {
    const char *name;
    bool at_end;    /* the directory, behind the grains, with a footer */
    bool redundant; /* the tables come twice */
    unsigned lost;  /* this grain does not come, although the table has it */
    unsigned hole;  /* zeroes come from this grain on, to the stream's end */
    bool no_footer;
    bool good;
};

static void put(unsigned char *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

static void add_header(struct bf_buf *out, const struct stream *stream, bool footer)
{
    unsigned char h[SECTOR] = "KDMV";

    put(h + 4, 3, 4);
    put(h + 8, 1 | 1 << 16 | 1 << 17 | (stream->redundant ? 1 << 1 : 0), 4);
    put(h + 12, GRAINS * GRAIN_SECTORS, 8);
    put(h + 20, GRAIN_SECTORS, 8);
    put(h + 44, 512, 4);
    put(h + 56, stream->at_end && !footer ? UINT64_MAX : 1, 8);
    put(h + 64, 1, 8);
    put(h + 77, 1, 2);
    bf_buf_add(out, (char *)h, sizeof(h));
}

static void add_marker(struct bf_buf *out, uint64_t sectors, unsigned type)
{
    unsigned char m[SECTOR] = {0};

    put(m, sectors, 8);
    put(m + 12, type, 4);
    bf_buf_add(out, (char *)m, sizeof(m));
}

static void fill(unsigned char *data, unsigned grain)
{
    for (size_t i = 0; i < GRAIN_BYTES; i++)
        data[i] = (unsigned char)(grain + 1 + i % 7);
}

static void add_grain(struct bf_buf *out, unsigned grain)
{
    unsigned char data[GRAIN_BYTES], packed[2 * GRAIN_BYTES] = {0};
    uLongf length = sizeof(packed) - 12;

    fill(data, grain);
    compress(packed + 12, &length, data, sizeof(data));
    put(packed, (uint64_t)grain * GRAIN_SECTORS, 8);
    put(packed + 8, length, 4);
    bf_buf_add(out, (char *)packed, (length + 12 + SECTOR - 1) / SECTOR * SECTOR);
}

static void add_table(struct bf_buf *out)
{
    unsigned char table[4 * SECTOR] = {0};

    for (unsigned i = 0; i < GRAINS; i++)
        put(table + (size_t)4 * i, 100 + i, 4);
    add_marker(out, 4, 1);
    bf_buf_add(out, (char *)table, sizeof(table));
}

static void build(struct bf_buf *out, const struct stream *stream)
{
    static const char zeroes[SECTOR];

    add_header(out, stream, false);
    for (unsigned i = 0; i < GRAINS && i < stream->hole; i++) {
        if (i != stream->lost)
            add_grain(out, i);
    }
    if (stream->hole != NONE) {
        for (int i = 0; i < 20; i++)
            bf_buf_add(out, zeroes, sizeof(zeroes));
        return;
    }
    if (stream->at_end) {
        add_table(out);
        if (stream->redundant)
            add_table(out);
        add_marker(out, 1, 2);
        bf_buf_add(out, zeroes, sizeof(zeroes));
        if (!stream->no_footer) {
            add_marker(out, 1, 3);
            add_header(out, stream, true);
        }
    }
    add_marker(out, 0, 0);
}

static int decode(int fd, const struct bf_buf *text, size_t piece, struct bf_error *err)
{
    struct bf_vmdk *vmdk = bf_vmdk_new(fd, GRAINS * GRAIN_BYTES);
    int rc = 0;

    for (size_t at = 0; at < text->length && rc == 0; at += piece)
        rc = bf_vmdk_feed(vmdk, text->text + at,
                          text->length - at < piece ? text->length - at : piece, err);
    if (rc == 0)
        rc = bf_vmdk_finish(vmdk, err);
    bf_vmdk_free(vmdk);
    return rc;
}

static bool is_disk(int fd)
{
    unsigned char want[GRAIN_BYTES], have[GRAIN_BYTES];

    for (unsigned i = 0; i < GRAINS; i++) {
        fill(want, i);
        if (pread(fd, have, sizeof(have), (off_t)(i * GRAIN_BYTES)) != (ssize_t)sizeof(have) ||
            memcmp(want, have, sizeof(want)) != 0)
            return false;
    }
    return true;
}

static void test_stream(const struct stream *stream)
{
    static const size_t pieces[] = {1, 700, 1 << 20};
    bf_auto_buf text = {0};

    build(&text, stream);
    for (size_t i = 0; i < bf_array_length(pieces); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_fd int fd = memfd_create("disk", MFD_CLOEXEC);
        int rc = decode(fd, &text, pieces[i], &err);

        is_int(rc, stream->good ? 0 : -1, "%s, in pieces of %zu: %s", stream->name, pieces[i],
               err.message ? err.message : "a disk");
        is_error(&err, stream->good ? BF_OK : BF_E_PROTOCOL, "its error");
        if (stream->good)
            ok(is_disk(fd), "every grain of it");
    }
}

static void test_vmdk(void)
{
    static const struct stream streams[] = {
        {.name = "as hosts send it", .at_end = true, .lost = NONE, .hole = NONE, .good = true},
        {.name = "tables at the beginning", .lost = NONE, .hole = NONE, .good = true},
        {.name = "tables twice",
         .at_end = true,
         .redundant = true,
         .lost = NONE,
         .hole = NONE,
         .good = true},
        {.name = "no footer", .at_end = true, .no_footer = true, .lost = NONE, .hole = NONE},
        {.name = "first grain lost", .at_end = true, .lost = 0, .hole = NONE},
        {.name = "last grain lost", .at_end = true, .lost = GRAINS - 1, .hole = NONE},
        {.name = "zeroes from the middle on", .at_end = true, .lost = NONE, .hole = 3},
        {.name = "nothing but zeroes", .at_end = true, .lost = NONE, .hole = 0},
    };

    for (size_t i = 0; i < bf_array_length(streams); i++)
        test_stream(&streams[i]);
}

/* --- pages of changed areas --- */

#define DISK UINT64_C(1000000)
#define AREA(at, length)                                                                           \
    "<changedArea><start>" at "</start><length>" length "</length></changedArea>"
#define PAGE(at, length, areas)                                                                    \
    "<p><startOffset>" at "</startOffset><length>" length "</length>" areas "</p>"

static void test_page(const char *page, uint64_t offset, uint64_t end, const char *name)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_vmware_areas areas = {0};
    bf_auto_xmldoc doc = NULL;

    if (!ok(bf_xml_parse(page, strlen(page), "page", &doc, &err) == 0, "%s: parsed", name))
        return;
    int rc = bf_vmware_areas_add_page(xmlDocGetRootElement(doc), DISK, &offset, &areas, &err);
    is_int(rc, end ? 0 : -1, "%s: %s", name, err.message ? err.message : "taken");
    if (end)
        is_int((int64_t)offset, (int64_t)end, "where the next page begins");
    else
        is_error(&err, BF_E_PROTOCOL, "its error");
}

static void test_pages(void)
{
    test_page(PAGE("0", "1000", AREA("10", "20") AREA("500", "500")), 0, 1000, "a page");
    test_page(PAGE("1000", "1000", ""), 1000, 2000, "a page without areas");
    test_page(PAGE("0", "1000", AREA("900", "600")), 0, 1500,
              "an area that goes on behind its page");
    test_page(PAGE("0", "1000", AREA("1000", "600")), 0, 1600, "one that begins where it ends");
    test_page(PAGE("0", "1000", AREA("1001", "600")), 0, 0,
              "one behind it: what is between is unknown");
    test_page(PAGE("0", "1000", AREA("900", "200") AREA("1101", "9")), 0, 0,
              "the same, after a longer one");
    test_page(PAGE("0", "0", ""), 0, 0, "a page of nothing");
    test_page(PAGE("1000", "1000", ""), 500, 0, "another page than was asked for");
    test_page(PAGE("500", "1000", AREA("400", "50")), 500, 0, "an area before its page");
    test_page(PAGE("0", "1000", AREA("100", "50") AREA("120", "50")), 0, 0, "areas that overlap");
    test_page(PAGE("999000", "5000", AREA("999500", "5000")), 999000, DISK,
              "beyond the disk's end");
}

int main(void)
{
    test_vmdk();
    test_pages();
    return done();
}
