/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/tls_priority.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define VARIABLE "GNUTLS_SYSTEM_PRIORITY_FILE"

void bf_tls_priority_apply(char *argv[])
{
    static const char text[] = "[overrides]\n"
                               "tls-disabled-cipher = CHACHA20-POLY1305\n";
    char path[64];

    if (getenv(VARIABLE) || access("/etc/gnutls/config", F_OK) == 0)
        return;
    int fd = memfd_create("gnutls-priorities", 0); /* stays open over exec */
    if (fd < 0)
        return;
    if (write(fd, text, strlen(text)) == (ssize_t)strlen(text)) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (setenv(VARIABLE, path, 0) == 0)
            execv("/proc/self/exe", argv);
    }
    /* Slower, but right. */
    unsetenv(VARIABLE);
    close(fd);
}
