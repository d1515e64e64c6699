/* SPDX-License-Identifier: Apache-2.0 */
/* The journal, as it is and with hashes made right, so that the search gets behind them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/text.h"
#include "nbd/digest.h"
#include "nbd/journal.h"
#include "tests/fuzz/fuzz.h"

static const struct bf_journal_identity identity = {
    .source = "s", .target = "t", .size = 100 * BF_LEAF_BYTES + 7, .map = "whole", .mode = ""};

static void parse(const char *text, size_t size)
{
    struct bf_journal_content content;
    bf_auto_error err = BF_ERROR_INIT;

    if (bf_journal_parse(text, size, &identity, &content, &err)) {
        FUZZ_CHECK(err.code == BF_E_JOURNAL);
        return;
    }
    FUZZ_CHECK(content.valid_bytes <= size);
    for (size_t i = 0; i < content.done.count; i++) {
        const struct bf_range *range = &content.done.items[i];
        FUZZ_CHECK(range->start < range->end && range->end <= identity.size);
        FUZZ_CHECK(range->start % BF_LEAF_BYTES == 0);
    }
    FUZZ_CHECK(content.commits || !content.done.count);
    bf_range_set_done(&content.done);
}

/* Each line of the input becomes a payload with its right hash. */
static void parse_hashed(const char *text, size_t size)
{
    bf_auto_buf buf = {0};
    uint64_t chain = 0;

    for (size_t at = 0; at < size;) {
        const char *newline = memchr(text + at, '\n', size - at);
        size_t length = newline ? (size_t)(newline - text) - at : size - at;
        chain = XXH3_64bits_withSeed(text + at, length, chain);
        bf_buf_addf(&buf, "%016" PRIx64 " ", chain);
        bf_buf_add(&buf, text + at, length);
        bf_buf_add(&buf, "\n", 1);
        at += length + 1;
    }
    if (buf.text)
        parse(buf.text, buf.length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse((const char *)data, size);
    parse_hashed((const char *)data, size);
    return 0;
}
