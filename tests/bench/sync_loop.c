/* SPDX-License-Identifier: Apache-2.0 */
/* What a plain backup script does with a dirty bitmap: ask for it, then read and write one extent
 * after the other.  The yardstick of the delta rows of `make bench`.
 *
 * usage: sync-loop NBD-URI BITMAP FILE
 */
#include <fcntl.h>
#include <inttypes.h>
#include <libnbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE (256u * 1024)
#define ASK (1u << 30)

struct dirty {
    uint64_t offset;
    uint64_t length;
};

struct list {
    struct dirty *items;
    size_t count;
    uint64_t at;
};

static int on_extent(void *user, const char *context, uint64_t offset, uint32_t *entries,
                     size_t count, int *error)
{
    struct list *list = user;

    (void)error;
    if (strncmp(context, "qemu:dirty-bitmap:", 18) != 0)
        return 0;
    for (size_t i = 0; i + 1 < count; i += 2) {
        if (entries[i + 1] & 1) {
            list->items = realloc(list->items, (list->count + 1) * sizeof(*list->items));
            if (!list->items)
                abort();
            list->items[list->count++] = (struct dirty){.offset = offset, .length = entries[i]};
        }
        offset += entries[i];
    }
    list->at = offset;
    return 0;
}

static int copy(struct nbd_handle *nbd, const struct list *list, int fd)
{
    static char buffer[PIECE];

    for (size_t i = 0; i < list->count; i++) {
        for (uint64_t done = 0; done < list->items[i].length;) {
            uint64_t offset = list->items[i].offset + done;
            size_t length = list->items[i].length - done > PIECE
                                ? PIECE
                                : (size_t)(list->items[i].length - done);

            if (nbd_pread(nbd, buffer, length, offset, 0) < 0)
                return -1;
            if (pwrite(fd, buffer, length, (off_t)offset) != (ssize_t)length)
                return -1;
            done += length;
        }
    }
    return fdatasync(fd);
}

int main(int argc, char **argv)
{
    char context[256];
    struct list list = {0};
    struct nbd_handle *nbd = nbd_create();
    int fd;

    if (argc != 4 || !nbd)
        return 1;
    snprintf(context, sizeof(context), "qemu:dirty-bitmap:%s", argv[2]);
    if (nbd_add_meta_context(nbd, context) < 0 || nbd_connect_uri(nbd, argv[1]) < 0) {
        fprintf(stderr, "%s\n", nbd_get_error());
        return 1;
    }
    uint64_t size = (uint64_t)nbd_get_size(nbd);
    while (list.at < size) {
        uint64_t ask = size - list.at > ASK ? ASK : size - list.at;
        nbd_extent_callback callback = {.callback = on_extent, .user_data = &list};

        if (nbd_block_status(nbd, ask, list.at, callback, 0) < 0) {
            fprintf(stderr, "%s\n", nbd_get_error());
            return 1;
        }
    }
    fd = open(argv[3], O_WRONLY | O_CLOEXEC);
    if (fd < 0 || copy(nbd, &list, fd) < 0) {
        perror(argv[3]);
        return 1;
    }
    close(fd);
    nbd_close(nbd);
    free(list.items);
    return 0;
}
