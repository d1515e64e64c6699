/* SPDX-License-Identifier: Apache-2.0 */
/* Read the data extents of a change map (JSON lines of blockferry-copy --print-map) and do nothing
 * else: what the server needs at least.  The yardstick of the row of a huge disk in `make bench`.
 *
 * usage: raw-read NBD-URI MAP
 */
#include <inttypes.h>
#include <libnbd.h>
#include <stdio.h>
#include <stdlib.h>

#define IN_FLIGHT 8
#define PIECE (256u * 1024)

static unsigned free_count = IN_FLIGHT;
static char *free_buffers[IN_FLIGHT];

static int on_read(void *user, int *error)
{
    if (*error)
        abort();
    free_buffers[free_count++] = user;
    return 1; /* retire it */
}

static void read_extent(struct nbd_handle *nbd, uint64_t offset, uint64_t length)
{
    while (length) {
        uint64_t n = length < PIECE ? length : PIECE;

        while (!free_count)
            if (nbd_poll(nbd, -1) < 0)
                abort();
        char *buffer = free_buffers[--free_count];
        nbd_completion_callback callback = {.callback = on_read, .user_data = buffer};
        if (nbd_aio_pread(nbd, buffer, n, offset, callback, 0) < 0)
            abort();
        offset += n;
        length -= n;
    }
}

int main(int argc, char **argv)
{
    struct nbd_handle *nbd = nbd_create();
    FILE *map = argc == 3 ? fopen(argv[2], "re") : NULL;
    uint64_t offset, length;
    char type[8];

    if (!map || !nbd || nbd_set_request_structured_replies(nbd, false) ||
        nbd_set_pread_initialize(nbd, false) || nbd_connect_uri(nbd, argv[1]) < 0) {
        fprintf(stderr, "usage: raw-read NBD-URI MAP; %s\n", nbd_get_error());
        return 1;
    }
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        if (!(free_buffers[i] = malloc(PIECE)))
            return 1;
    while (fscanf(map, " {\"offset\":%" SCNu64 ",\"length\":%" SCNu64 ",\"type\":\"%4s\"}", &offset,
                  &length, type) == 3)
        if (type[0] == 'd')
            read_extent(nbd, offset, length);
    while (free_count < IN_FLIGHT)
        if (nbd_poll(nbd, -1) < 0)
            return 1;
    nbd_shutdown(nbd, 0);
    nbd_close(nbd);
    return 0;
}
