/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/durable.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

int bf_sync_directory_of(const char *path)
{
    bf_auto_free char *directory = bf_xstrdup(path);
    char *slash = strrchr(directory, '/');

    if (slash)
        slash[slash == directory] = '\0';
    bf_auto_fd int fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -1 : fsync(fd);
}
