/* SPDX-License-Identifier: Apache-2.0 */
/* Inside base only: what a child is started with, ready before the fork. */
#pragma once

#include "base/error.h"

struct command {
    char *path;  /* of the program, absolute */
    char **argv; /* copies */
    char **envp; /* PATH, LC_ALL, TMPDIR if we have one, and the caller's */
};

int bf_command_make(const char *const *argv, const char *const *env, struct command *ret_command,
                    struct bf_error *err);
void bf_command_done(struct command *command);
