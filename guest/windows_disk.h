/* SPDX-License-Identifier: Apache-2.0 */
/* The Windows on the session's disks: where it is, in what state, and its hives.
 *
 * Found by looking for its registry on every NTFS volume: a full inspection would take as long as
 * the rest of the conversion. */
#pragma once

#include "guest/session.h"

#define BF_WINDOWS_MOUNT "/win"

struct bf_windows_hive {
    char *path; /* in the session, below BF_WINDOWS_MOUNT, in the guest's own case */
    char *data;
    size_t size;
};

struct bf_windows_guest {
    char *device;     /* "/dev/sda2" */
    char *esp;        /* the EFI system partition; NULL: the guest boots by BIOS */
    char *directory;  /* "/win/Windows", in the guest's own case */
    char *config;     /* "/win/Windows/System32/config", likewise */
    const char *arch; /* "x86_64"; NULL: unknown */
    bool hibernated;  /* refused for writing: hibernated, or shut down by Fast Startup */
    bool unclean;     /* NTFS's log holds changes */
    bool damaged;     /* refused for writing: inconsistent */
    bool dirty;       /* marked for a check at the next start; bf_windows_read_dirty() */
    struct json_object *encrypted; /* texts: volumes that are encrypted */
    struct bf_windows_hive system, software;
    char *hive_directory;      /* on the host; holds SYSTEM and SOFTWARE only */
    struct json_object *facts; /* windows_facts.h */
};

/* Find it and mount it read-only at BF_WINDOWS_MOUNT.  BF_E_GUEST_UNKNOWN, _ENCRYPTED (where it
 * could be), _UNSUPPORTED (several). */
int bf_windows_guest_open(struct bf_session *session, struct bf_windows_guest *ret_windows,
                          struct bf_error *err);
/* Fetch the hives; BF_E_GUEST_REGISTRY. */
int bf_windows_fetch_hives(struct bf_session *session, struct bf_windows_guest *windows,
                           struct bf_error *err);
/* Then: read the facts from them (hive_box.h). */
int bf_windows_fetch_facts(struct bf_windows_guest *windows, struct bf_error *err);
/* Is the volume marked?  (Two calls more; only the inspection asks.) */
void bf_windows_read_dirty(struct bf_session *session, struct bf_windows_guest *windows);
void bf_windows_guest_done(struct bf_windows_guest *windows);
