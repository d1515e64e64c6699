/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/compress.h"

#include <lzma.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/cleanup.h"

#define STEP 65536
/* Only a 128 MiB window is what the kernel's own decoders allow. */
#define LZMA_MEMORY_MAX ((uint64_t)256 << 20)
#define ZSTD_LEVEL 19

enum bf_initrd_method bf_compression_detect(const void *data, size_t size)
{
    static const struct {
        const char *magic;
        size_t length;
        enum bf_initrd_method method;
    } magics[] = {
        {"\x1f\x8b", 2, BF_INITRD_GZIP},
        {"\xfd"
         "7zXZ",
         5, BF_INITRD_XZ},
        {"\x28\xb5\x2f\xfd", 4, BF_INITRD_ZSTD},
    };

    for (size_t i = 0; i < bf_array_length(magics); i++)
        if (size >= magics[i].length && memcmp(data, magics[i].magic, magics[i].length) == 0)
            return magics[i].method;
    return BF_INITRD_METHOD_MAX;
}

static int broken(struct bf_error *err, const char *what)
{
    return bf_fail(err, BF_E_GUEST_INITRAMFS, 0, "a %s stream is damaged or cut", what);
}

static int too_large(struct bf_error *err)
{
    return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "an archive is too large when unpacked");
}

static int gunzip(const void *data, size_t size, size_t max, struct bf_buf *plain, size_t *used,
                  struct bf_error *err)
{
    z_stream stream = {.avail_in = (uInt)size};
    unsigned char block[STEP];
    int result;

    /* zlib does not write there. */
    memcpy(&stream.next_in, &data, sizeof(data));
    if (inflateInit2(&stream, 15 + 16) != Z_OK)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "zlib");
    do {
        stream.next_out = block;
        stream.avail_out = sizeof(block);
        result = inflate(&stream, Z_NO_FLUSH);
        bf_buf_add(plain, (const char *)block, sizeof(block) - stream.avail_out);
    } while (result == Z_OK && plain->length <= max);
    *used = size - stream.avail_in;
    inflateEnd(&stream);
    if (plain->length > max)
        return too_large(err);
    return result == Z_STREAM_END ? 0 : broken(err, "gzip");
}

static int unxz(const void *data, size_t size, size_t max, struct bf_buf *plain, size_t *used,
                struct bf_error *err)
{
    lzma_stream stream = LZMA_STREAM_INIT;
    unsigned char block[STEP];
    lzma_ret result;

    if (lzma_stream_decoder(&stream, LZMA_MEMORY_MAX, 0) != LZMA_OK)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "liblzma");
    stream.next_in = data;
    stream.avail_in = size;
    do {
        stream.next_out = block;
        stream.avail_out = sizeof(block);
        result = lzma_code(&stream, LZMA_FINISH);
        bf_buf_add(plain, (const char *)block, sizeof(block) - stream.avail_out);
    } while (result == LZMA_OK && plain->length <= max);
    *used = size - stream.avail_in;
    lzma_end(&stream);
    if (plain->length > max)
        return too_large(err);
    return result == LZMA_STREAM_END ? 0 : broken(err, "xz");
}

static int unzstd(const void *data, size_t size, size_t max, struct bf_buf *plain, size_t *used,
                  struct bf_error *err)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_inBuffer in = {.src = data, .size = size};
    unsigned char block[STEP];
    size_t left;
    bool stuck;

    if (!stream)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "libzstd");
    do {
        ZSTD_outBuffer out = {.dst = block, .size = sizeof(block)};

        left = ZSTD_decompressStream(stream, &out, &in);
        if (!ZSTD_isError(left))
            bf_buf_add(plain, (const char *)block, out.pos);
        stuck = in.pos == in.size && out.pos < out.size;
    } while (!ZSTD_isError(left) && left != 0 && !stuck && plain->length <= max);
    *used = in.pos;
    ZSTD_freeDStream(stream);
    if (plain->length > max)
        return too_large(err);
    return left == 0 ? 0 : broken(err, "zstd");
}

int bf_decompress(enum bf_initrd_method method, const void *data, size_t size, size_t max,
                  struct bf_buf *ret_plain, size_t *ret_used, struct bf_error *err)
{
    if (method == BF_INITRD_GZIP)
        return gunzip(data, size, max, ret_plain, ret_used, err);
    if (method == BF_INITRD_XZ)
        return unxz(data, size, max, ret_plain, ret_used, err);
    if (method == BF_INITRD_ZSTD)
        return unzstd(data, size, max, ret_plain, ret_used, err);
    return bf_fail(err, BF_E_GUEST_UNSUPPORTED, 0, "the compression is not known");
}

static int gzip(const void *data, size_t size, void *packed, size_t *length_io)
{
    z_stream stream = {.avail_in = (uInt)size, .next_out = packed, .avail_out = (uInt)*length_io};
    int result;

    memcpy(&stream.next_in, &data, sizeof(data));
    if (deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return -1;
    result = deflate(&stream, Z_FINISH);
    *length_io = stream.total_out;
    deflateEnd(&stream);
    return result == Z_STREAM_END ? 0 : -1;
}

static int pack(enum bf_initrd_method method, const void *data, size_t size, void *packed,
                size_t *length_io)
{
    size_t length = 0;

    switch (method) {
    case BF_INITRD_GZIP:
        return gzip(data, size, packed, length_io);
    case BF_INITRD_XZ:
        if (lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL, data, size, packed, &length,
                                    *length_io) != LZMA_OK)
            return -1;
        break;
    case BF_INITRD_ZSTD:
        length = ZSTD_compress(packed, *length_io, data, size, ZSTD_LEVEL);
        if (ZSTD_isError(length))
            return -1;
        break;
    case BF_INITRD_PLAIN:
    case BF_INITRD_METHOD_MAX:
    default:
        return -1;
    }
    *length_io = length;
    return 0;
}

int bf_compress(enum bf_initrd_method method, const void *data, size_t size,
                struct bf_buf *ret_packed, struct bf_error *err)
{
    /* Above every library's bound for incompressible data. */
    size_t length = size + size / 64 + 4096;
    bf_auto_free void *packed = malloc(length);

    if (!packed)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "%zu bytes to compress", size);
    if (pack(method, data, size, packed, &length) < 0)
        return bf_fail(err, BF_E_INTERNAL, 0, "cannot compress %zu bytes", size);
    bf_buf_add(ret_packed, packed, length);
    return 0;
}
