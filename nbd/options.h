/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of blockferry-copy. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "nbd/progress.h"

struct bf_copy_options {
    const char *source;
    const char *target; /* NULL with --print-map only */
    const char *map;
    const char *dirty_bitmap;
    const char *since;
    bool compare;
    bool print_map;
    bool target_is_zero;
    const char *journal;
    const char *source_id; /* names the source in the journal */
    const char *target_id; /* the same of the target */
    const char *digest;
    const char *digest_from;
    unsigned verify_percent; /* 0: no verify */
    bool repair;
    uint64_t prove_leaves; /* 0: none */
    bool sha256;
    uint64_t rate;
    uint64_t connections;
    uint64_t requests;      /* 0: begin with the default and grow */
    uint64_t request_bytes; /* 0: what suits the endpoints */
    uint64_t memory_bytes;  /* 0: what suits the endpoints */
    uint64_t deadline_s;
    uint64_t reconnect_s;
    enum bf_progress_mode progress;
    bool progress_given;
    const char *tls_certificates;
    const char *target_tls_certificates; /* NULL: the same */
    const char *tls_psk;
    bool verbose;
    bool help;
    bool version;
};

/* Bad or contradictory: BF_E_BAD_INPUT. */
int bf_copy_options_parse(int argc, char *argv[], struct bf_copy_options *ret_options,
                          struct bf_error *err) __attribute__((nonnull, warn_unused_result));
void bf_copy_options_help(FILE *stream);
