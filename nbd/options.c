/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/options.h"

#include <getopt.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define KIB ((uint64_t)1024)
#define MIB (KIB * KIB)

enum type {
    FLAG,     /* bool */
    TEXT,     /* const char * */
    NUMBER,   /* uint64_t */
    BYTES,    /* uint64_t with K, M, G */
    PERCENT,  /* unsigned: all, none or N% */
    PROGRESS, /* enum bf_progress_mode */
};

struct option_row {
    const char *name;
    char letter; /* 0: none */
    enum type type;
    size_t offset;
    uint64_t min, max;
    const char *argument;
    const char *help;
};

#define AT(field) offsetof(struct bf_copy_options, field)

/* clang-format off */
static const struct option_row rows[] = {
    {"map", 0, TEXT, AT(map), 0, 0, "FILE", "copy the extents of this file (JSON lines)"},
    {"dirty-bitmap", 0, TEXT, AT(dirty_bitmap), 0, 0, "NAME", "copy what this dirty bitmap of the source calls dirty"},
    {"since", 0, TEXT, AT(since), 0, 0, "SNAP", "copy what changed since this snapshot of the source image (rbd)"},
    {"compare", 0, FLAG, AT(compare), 0, 0, NULL, "no map: read both sides and write what differs"},
    {"print-map", 0, FLAG, AT(print_map), 0, 0, NULL, "print the change map and copy nothing"},
    {"target-is-zero", 0, FLAG, AT(target_is_zero), 0, 0, NULL, "the whole target reads as zero: do not write zeroes"},
    {"journal", 0, TEXT, AT(journal), 0, 0, "FILE", "remember what is done, and go on there after a crash"},
    {"source-id", 0, TEXT, AT(source_id), 0, 0, "TEXT", "name of the source in the journal, instead of its URI"},
    {"target-id", 0, TEXT, AT(target_id), 0, 0, "TEXT", "name of the target in the journal, instead of its URI"},
    {"digest", 0, TEXT, AT(digest), 0, 0, "FILE", "write the digest of the disk to this file"},
    {"digest-from", 0, TEXT, AT(digest_from), 0, 0, "FILE", "digest of the target as it is now (for a delta or --compare)"},
    {"verify", 0, PERCENT, AT(verify_percent), 0, 0, "all|none|N%", "read the target back and compare it with the digest"},
    {"repair", 0, FLAG, AT(repair), 0, 0, NULL, "copy again what --verify found to differ"},
    {"prove", 0, NUMBER, AT(prove_leaves), 1, 4096, "N", "before a delta: N parts of the source that the map does not name must be as in --digest-from"},
    {"sha256", 0, FLAG, AT(sha256), 0, 0, NULL, "at the end read the whole target and report its SHA-256"},
    {"rate", 0, BYTES, AT(rate), 0, UINT64_MAX, "BYTES", "read at most so much per second (0: no limit)"},
    {"connections", 0, NUMBER, AT(connections), 1, 16, "N", "NBD connections to each server, if it allows several [2]"},
    {"requests", 0, NUMBER, AT(requests), 1, 64, "N", "requests under way per connection [4, grown while it helps]"},
    {"request-size", 0, BYTES, AT(request_bytes), 64 * KIB, 4 * MIB, "BYTES", "longest request, a power of two [512K, delta: 256K, rbd: 512K]"},
    {"memory", 0, BYTES, AT(memory_bytes), MIB, 4096 * MIB, "BYTES", "most memory to use; librbd and TLS come on top [16M]"},
    {"deadline", 0, NUMBER, AT(deadline_s), 1, 3600, "SECONDS", "how long each request may take [30]"},
    {"reconnect", 0, NUMBER, AT(reconnect_s), 0, 86400, "SECONDS", "how long to try to reach a lost server again [300]"},
    {"progress", 0, PROGRESS, AT(progress), 0, 0, "json|bar|none", "how to report [bar on a terminal]"},
    {"tls-certificates", 0, TEXT, AT(tls_certificates), 0, 0, "DIR", "certificates for nbds (ca-cert.pem, client-cert.pem, client-key.pem)"},
    {"target-tls-certificates", 0, TEXT, AT(target_tls_certificates), 0, 0, "DIR", "the same for the target, if they are others"},
    {"tls-psk", 0, TEXT, AT(tls_psk), 0, 0, "FILE", "pre-shared keys for nbds"},
    {"verbose", 'v', FLAG, AT(verbose), 0, 0, NULL, "say on standard error what is going on"},
    {"help", 'h', FLAG, AT(help), 0, 0, NULL, "print this help"},
    {"version", 'V', FLAG, AT(version), 0, 0, NULL, "print the version"},
};
/* clang-format on */

static int parse_percent(const char *text, unsigned *ret_percent, struct bf_error *err)
{
    bf_auto_free char *number = bf_xstrdup(text);
    size_t length = strlen(number);
    uint64_t value = 0;

    if (strcmp(text, "none") == 0) {
        *ret_percent = 0;
        return 0;
    }
    if (strcmp(text, "all") == 0) {
        *ret_percent = 100;
        return 0;
    }
    if (!length || number[length - 1] != '%')
        return bf_fail(err, BF_E_BAD_INPUT, 0, "\"%s\" is not all, none or N%%", text);
    number[length - 1] = '\0';
    if (bf_parse_u64(number, &value, err))
        return -1;
    if (!value || value > 100)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "\"%s\" is not from 1%% to 100%%", text);
    *ret_percent = (unsigned)value;
    return 0;
}

static int parse_progress(const char *text, enum bf_progress_mode *ret_mode, struct bf_error *err)
{
    if (strcmp(text, "json") == 0)
        *ret_mode = BF_PROGRESS_JSON;
    else if (strcmp(text, "bar") == 0)
        *ret_mode = BF_PROGRESS_BAR;
    else if (strcmp(text, "none") == 0)
        *ret_mode = BF_PROGRESS_NONE;
    else
        return bf_fail(err, BF_E_BAD_INPUT, 0, "\"%s\" is not json, bar or none", text);
    return 0;
}

static int store(const struct option_row *row, const char *text, struct bf_copy_options *options,
                 struct bf_error *err)
{
    void *at = (char *)options + row->offset;
    uint64_t *number = at;
    int rc = 0;

    switch (row->type) {
    case FLAG:
        *(bool *)at = true;
        return 0;
    case TEXT:
        if (!*text)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "it is empty");
        *(const char **)at = text;
        return 0;
    case PERCENT:
        return parse_percent(text, at, err);
    case PROGRESS:
        options->progress_given = true;
        return parse_progress(text, at, err);
    case NUMBER:
        rc = bf_parse_u64(text, number, err);
        break;
    case BYTES:
        rc = bf_parse_bytes(text, number, err);
        break;
    }
    if (!rc && (*number < row->min || *number > row->max))
        rc = bf_fail(err, BF_E_BAD_INPUT, 0, "%s is not from %" PRIu64 " to %" PRIu64, text,
                     row->min, row->max);
    return rc;
}

static const struct option_row *row_of(int letter)
{
    for (size_t i = 0; i < bf_array_length(rows); i++)
        if (rows[i].letter == letter)
            return &rows[i];
    return NULL;
}

static int conflict(const char *a, const char *b, struct bf_error *err)
{
    return bf_fail(err, BF_E_BAD_INPUT, 0, "--%s cannot be used with --%s", a, b);
}

/* What cannot go together, and what needs something else. */
static int check(const struct bf_copy_options *o, struct bf_error *err)
{
    bool delta = o->map || o->dirty_bitmap || o->since;

    if ((o->map != NULL) + (o->dirty_bitmap != NULL) + (o->since != NULL) + o->compare > 1)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "--map, --dirty-bitmap, --since and --compare exclude each other");
    if (o->compare && o->target_is_zero)
        return conflict("compare", "target-is-zero", err);
    if (delta && o->digest && !o->digest_from)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "a delta can write --digest only with --digest-from of the target as it is");
    if (o->digest_from && !delta && !o->compare)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "--digest-from needs --map, --dirty-bitmap, --since or --compare");
    if (o->digest && o->digest_from && strcmp(o->digest, o->digest_from) == 0)
        return bf_fail(err, BF_E_BAD_INPUT, 0,
                       "--digest and --digest-from name the same file; a crash would lose it");
    if (o->verify_percent && delta && !o->digest_from)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "to --verify a delta, --digest-from is needed");
    if (o->prove_leaves && (!delta || !o->digest_from))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "--prove needs a delta with --digest-from");
    if (o->repair && !o->verify_percent)
        return bf_fail(err, BF_E_BAD_INPUT, 0, "--repair needs --verify");
    if (o->request_bytes & (o->request_bytes - 1))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "--request-size must be a power of two");
    return 0;
}

static int take_arguments(int argc, char *argv[], int first, struct bf_copy_options *o,
                          struct bf_error *err)
{
    int count = argc - first;

    if (o->help || o->version)
        return 0;
    if (count < 1 || count > 2 || (count == 1 && !o->print_map))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "needed are a SOURCE and a TARGET (see --help)");
    o->source = argv[first];
    o->target = count == 2 ? argv[first + 1] : NULL;
    return check(o, err);
}

int bf_copy_options_parse(int argc, char *argv[], struct bf_copy_options *ret_options,
                          struct bf_error *err)
{
    struct option longs[bf_array_length(rows) + 1] = {0};
    struct bf_copy_options options = {
        .connections = 2,
        .deadline_s = 30,
        .reconnect_s = 300,
    };
    int c, index;

    for (size_t i = 0; i < bf_array_length(rows); i++)
        longs[i] = (struct option){.name = rows[i].name,
                                   .has_arg = rows[i].argument ? required_argument : no_argument};
    opterr = 0;
    optind = 0; /* glibc: forget an earlier parse */
    while ((index = -1, c = getopt_long(argc, argv, ":vhV", longs, &index)) != -1) {
        if (c == ':')
            return bf_fail(err, BF_E_BAD_INPUT, 0, "option \"%s\" needs a value", argv[optind - 1]);
        const struct option_row *row = index >= 0 ? &rows[index] : c == '?' ? NULL : row_of(c);
        if (!row)
            return bf_fail(err, BF_E_BAD_INPUT, 0, "unknown option \"%s\" (see --help)",
                           argv[optind - 1]);
        if (store(row, optarg ? optarg : "", &options, err))
            return bf_fail_in(err, "option --%s", row->name);
    }
    if (take_arguments(argc, argv, optind, &options, err))
        return -1;
    *ret_options = options;
    return 0;
}

void bf_copy_options_help(FILE *stream)
{
    fprintf(stream,
            "Usage: blockferry-copy [options] SOURCE TARGET\n\n"
            "Copy a disk, or what changed of it, between NBD servers, files and devices.\n"
            "SOURCE and TARGET: nbd://HOST/EXPORT, nbd+unix:///EXPORT?socket=PATH, nbds://...,\n"
            "rbd:POOL/IMAGE[@SNAP], a file or block device; TARGET also null:\n\n"
            "Options:\n");
    for (size_t i = 0; i < bf_array_length(rows); i++) {
        const struct option_row *row = &rows[i];
        char name[64];
        if (row->letter)
            snprintf(name, sizeof(name), "-%c, --%s", row->letter, row->name);
        else
            snprintf(name, sizeof(name), "--%s%s%s", row->name, row->argument ? " " : "",
                     row->argument ? row->argument : "");
        fprintf(stream, "  %-31s %s\n", name, row->help);
    }
    fprintf(stream, "\nThe manual page blockferry-copy(1) says more.\n");
}
