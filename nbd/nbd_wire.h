/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of the NBD protocol (big-endian), for the files that speak it. */
#pragma once

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t bf_nbd_get16(const unsigned char *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof(value));
    return be16toh(value);
}

static inline uint32_t bf_nbd_get32(const unsigned char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return be32toh(value);
}

static inline uint64_t bf_nbd_get64(const unsigned char *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return be64toh(value);
}

/* These return what is behind the number. */
static inline unsigned char *bf_nbd_put16(unsigned char *at, uint16_t value)
{
    value = htobe16(value);
    memcpy(at, &value, sizeof(value));
    return at + sizeof(value);
}

static inline unsigned char *bf_nbd_put32(unsigned char *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof(value));
    return at + sizeof(value);
}

static inline unsigned char *bf_nbd_put64(unsigned char *at, uint64_t value)
{
    value = htobe64(value);
    memcpy(at, &value, sizeof(value));
    return at + sizeof(value);
}

#define BF_NBD_REQUEST_BYTES 28u

enum bf_nbd_command {
    BF_NBD_CMD_READ = 0,
    BF_NBD_CMD_WRITE = 1,
    BF_NBD_CMD_DISCONNECT = 2,
    BF_NBD_CMD_FLUSH = 3,
    BF_NBD_CMD_WRITE_ZEROES = 6,
    BF_NBD_CMD_BLOCK_STATUS = 7,
};

static inline void bf_nbd_put_request(unsigned char *at, enum bf_nbd_command command,
                                      uint64_t cookie, uint64_t offset, uint32_t length)
{
    at = bf_nbd_put32(at, 0x25609513);
    at = bf_nbd_put16(at, 0); /* no flags */
    at = bf_nbd_put16(at, (uint16_t)command);
    at = bf_nbd_put64(at, cookie);
    at = bf_nbd_put64(at, offset);
    (void)bf_nbd_put32(at, length);
}
