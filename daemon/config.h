/* SPDX-License-Identifier: Apache-2.0 */
/* What blockferryd is started with.  One table in config.c drives options, help and defaults. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

struct bf_config {
    char *state_directory; /* --state DIR */
    char *run_directory;   /* --run DIR: sockets and scratch; short */
    char *socket_path;     /* --socket PATH; a socket passed by systemd wins */
    char *socket_group;    /* --socket-group NAME: who may connect beside root; NULL: owner only */
    char *seal_key_path;   /* --seal-key FILE; NULL: $CREDENTIALS_DIRECTORY/seal-key, else
                              STATE/seal.key (made) */
    char *virtio_win;      /* --virtio-win DIR|ISO */
    char *cache_directory; /* --cache DIR: what can be made again (the conversion's appliance) */
    uint64_t max_rounds;   /* --max-rounds N: rounds at the same time */
    uint64_t max_launches; /* --max-launches N */
    char *log_level;       /* --log-level LEVEL */
    bool help;
    bool version;
};

/* Defaults, then the options.  BF_E_BAD_INPUT names the option. */
int bf_config_parse(int argc, char *argv[], struct bf_config *ret_config, struct bf_error *err);
void bf_config_help(FILE *stream);
void bf_config_done(struct bf_config *config);
