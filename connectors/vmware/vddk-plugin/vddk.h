/* SPDX-License-Identifier: Apache-2.0 */
/* VMware's VixDiskLib, as far as it is used here: no header of VMware's is needed.
 *
 * One macro list holds the entry points; the plugin's pointers and the stand-in library of the
 * tests are both made from it, so a signature cannot differ between the two.  The layout
 * of the structures is the public one of x86-64.  ConnectParams grows from version to version: it
 * is always allocated by the library, never by us.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

/* Major versions of the library's file name, newest first. */
#define BF_VDDK_VERSIONS                                                                           \
    {                                                                                              \
        "8", "7", "6"                                                                              \
    }

#define BF_VDDK_SECTOR 512
#define BF_VDDK_OPEN_READ_ONLY 4
#define BF_VDDK_CREDENTIALS_UID 1
#define BF_VDDK_OK 0
#define BF_VDDK_FAIL 1
#define BF_VDDK_NOT_SUPPORTED 6
#define BF_VDDK_ASYNC 25000
#define BF_VDDK_CODE(error) ((error)&0xffff)
#define BF_VDDK_CHUNK_SECTORS 128       /* smallest chunk of QueryAllocatedBlocks */
#define BF_VDDK_CHUNKS_MAX (512 * 1024) /* of one call */

typedef uint64_t bf_vddk_error;
typedef void bf_vddk_log_fn(const char *format, va_list args);
typedef void bf_vddk_done_fn(void *data, bf_vddk_error error);

struct bf_vddk_connect {
    char *vm_spec; /* "moref=vm-57" */
    char *server;
    char *thumbprint;
    long private_use;
    int credentials_type;
    union {
        struct {
            char *user;
            char *password;
        } uid;
        char *words[3];
    } credentials;
    uint32_t port;
    uint32_t nfc_port;
    /* more follows, which stays as the library made it */
};

struct bf_vddk_info {
    uint32_t bios_geometry[3];
    uint32_t physical_geometry[3];
    uint64_t capacity; /* sectors */
    /* more follows */
};

struct bf_vddk_blocks {
    uint32_t count;
    struct {
        uint64_t offset, length; /* sectors */
    } blocks[1];
};

/* X(required, return type, name without "VixDiskLib_", parameters) */
/* clang-format off */
#define BF_VDDK_CALLS(X) \
    X(true, bf_vddk_error, InitEx, (uint32_t major, uint32_t minor, bf_vddk_log_fn *log, \
        bf_vddk_log_fn *warn, bf_vddk_log_fn *panic, const char *libdir, const char *config)) \
    X(true, void, Exit, (void)) \
    X(true, char *, GetErrorText, (bf_vddk_error error, const char *locale)) \
    X(true, void, FreeErrorText, (char *text)) \
    X(true, struct bf_vddk_connect *, AllocateConnectParams, (void)) \
    X(true, void, FreeConnectParams, (struct bf_vddk_connect *params)) \
    X(true, bf_vddk_error, ConnectEx, (const struct bf_vddk_connect *params, char read_only, \
        const char *snapshot, const char *transports, void **ret_connection)) \
    X(true, bf_vddk_error, Disconnect, (void *connection)) \
    X(true, bf_vddk_error, Open, (void *connection, const char *path, uint32_t flags, \
        void **ret_handle)) \
    X(true, bf_vddk_error, Close, (void *handle)) \
    X(true, const char *, GetTransportMode, (void *handle)) \
    X(true, bf_vddk_error, GetInfo, (void *handle, struct bf_vddk_info **ret_info)) \
    X(true, void, FreeInfo, (struct bf_vddk_info *info)) \
    X(true, bf_vddk_error, ReadAsync, (void *handle, uint64_t start, uint64_t count, \
        uint8_t *buffer, bf_vddk_done_fn *done, void *data)) \
    X(true, bf_vddk_error, Wait, (void *handle)) \
    X(false, bf_vddk_error, QueryAllocatedBlocks, (void *handle, uint64_t start, uint64_t count, \
        uint64_t chunk, struct bf_vddk_blocks **ret_blocks)) \
    X(false, bf_vddk_error, FreeBlockList, (struct bf_vddk_blocks *blocks))
/* clang-format on */
