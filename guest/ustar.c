/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/ustar.h"

#include <stdio.h>
#include <string.h>

#define BLOCK 512

/* POSIX.1-1988 ustar. */
struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
    char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");

bool bf_ustar_add(struct bf_buf *archive, const char *name, const void *data, size_t size)
{
    static const char zeros[BLOCK];
    struct header header = {.type = '0', .magic = "ustar", .version = {'0', '0'}};
    const unsigned char *bytes = (const unsigned char *)&header;
    unsigned sum = 0;

    if (strlen(name) >= sizeof(header.name) || size >= (size_t)8 << 30)
        return false;
    memcpy(header.name, name, strlen(name));
    snprintf(header.mode, sizeof(header.mode), "%07o", 0644U);
    snprintf(header.uid, sizeof(header.uid), "%07o", 0U);
    snprintf(header.gid, sizeof(header.gid), "%07o", 0U);
    snprintf(header.size, sizeof(header.size), "%011zo", size);
    /* No time: the same conversion makes the same files. */
    snprintf(header.mtime, sizeof(header.mtime), "%011o", 0U);
    memset(header.checksum, ' ', sizeof(header.checksum));
    for (size_t i = 0; i < sizeof(header); i++)
        sum += bytes[i];
    snprintf(header.checksum, sizeof(header.checksum), "%06o", sum & 0777777);
    bf_buf_add(archive, (const char *)&header, sizeof(header));
    if (size > 0)
        bf_buf_add(archive, data, size);
    bf_buf_add(archive, zeros, (BLOCK - size % BLOCK) % BLOCK);
    return true;
}

void bf_ustar_end(struct bf_buf *archive)
{
    static const char zeros[2 * BLOCK];

    bf_buf_add(archive, zeros, sizeof(zeros));
}
