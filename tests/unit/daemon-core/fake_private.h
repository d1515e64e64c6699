/* SPDX-License-Identifier: Apache-2.0 */
/* What the halves of the fake platform share. */
#pragma once

#include "connectors/ops.h"
#include "fake.h"

struct fake {
    struct bf_platform base;
    char *directory;
};
struct fake *fake_of(struct bf_platform *platform);

extern const struct bf_source_ops fake_source;
extern struct bf_target_ops fake_target; /* its takes_companion can be taken away */

/* Every call that changes something begins here: it is counted, and fails when it was planned to.
 */
int fake_enter(struct bf_platform *platform, const char *call, struct bf_error *err);
/* Of a call that only asks: it fails when it was planned to. */
int fake_planned(const char *call, struct bf_error *err);

/* Files of the platform's directory.  What is returned is the caller's to free. */
char *fake_path(struct bf_platform *platform, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool fake_there(const char *path);
uint64_t fake_size_of(const char *path);
int fake_put(const char *path, const char *text, struct bf_error *err);
int fake_copy_file(const char *from, const char *to, struct bf_error *err);
/* Names that begin with this, ended by NULL. */
char **fake_names(struct bf_platform *platform, const char *prefix);
void fake_names_free(char **found);
void fake_remove_names(struct bf_platform *platform, const char *prefix, const char *part);
