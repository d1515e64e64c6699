/* SPDX-License-Identifier: Apache-2.0 */
/* A scratch directory for one test program, and small things the store's tests share. */
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "daemon/store/store.h"
#include "tests/unit/tap.h"

static inline char *scratch_new(void)
{
    const char *base = getenv("TMPDIR");
    char *path = bf_xasprintf("%s/bf-store-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(path)) {
        perror(path);
        exit(1);
    }
    return path;
}

static inline void scratch_free(char **at)
{
    bf_auto_error err = BF_ERROR_INIT;
    if (*at && bf_directory_remove(*at, &err) < 0)
        diag("%s", err.message);
    free(*at);
}
#define auto_scratch __attribute__((cleanup(scratch_free))) char

static inline struct bf_store *open_or_die(const char *directory)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_store *store = NULL;
    if (bf_store_open(directory, &store, &err) < 0) {
        diag("%s: %s: %s", directory, err.message, err.evidence ? err.evidence : "");
        exit(1);
    }
    return store;
}

static inline char *text_of(const char *text)
{
    return bf_xstrdup(text);
}

static inline void add_platform(struct bf_store *store, const char *id, struct bf_error *err)
{
    struct bf_platform_row row = {.id = text_of(id),
                                  .name = bf_xasprintf("name of %s", id),
                                  .type = text_of("libvirt"),
                                  .url = text_of("qemu:///system"),
                                  .created_us = 1};
    bf_store_platform_add(store, &row, err);
    bf_platform_row_done(&row);
}

static inline int add_replication(struct bf_store *store, const char *id, const char *source,
                                  const char *target, struct bf_error *err)
{
    struct bf_replication_row row = {.id = text_of(id),
                                     .name = bf_xasprintf("name of %s", id),
                                     .source_platform_id = text_of(source),
                                     .target_platform_id = text_of(target),
                                     .machine_id = bf_xasprintf("machine of %s", id),
                                     .mapping = text_of("{}"),
                                     .policy = text_of("{}"),
                                     .state = text_of("new")};
    int rc = bf_store_replication_add(store, &row, err);
    bf_replication_row_done(&row);
    return rc;
}
