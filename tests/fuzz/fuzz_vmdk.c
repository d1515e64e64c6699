/* SPDX-License-Identifier: Apache-2.0 */
/* An exported disk: what a server sends, in pieces of any size. */
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connectors/vmware/vmdk.h"
#include "tests/fuzz/fuzz.h"

#define DISK_BYTES (4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_auto_error err = BF_ERROR_INIT;
    int fd = memfd_create("disk", MFD_CLOEXEC);
    struct bf_vmdk *vmdk = bf_vmdk_new(fd, DISK_BYTES);
    size_t piece = size ? data[size - 1] * 7 + 1 : 1;
    struct stat st;
    int rc = 0;

    for (size_t at = 0; at < size && rc == 0; at += piece)
        rc = bf_vmdk_feed(vmdk, data + at, size - at < piece ? size - at : piece, &err);
    if (rc == 0)
        rc = bf_vmdk_finish(vmdk, &err);
    FUZZ_CHECK((rc == 0) == !bf_error_is_set(&err));
    /* Whatever came, nothing was written beyond the disk. */
    FUZZ_CHECK(fstat(fd, &st) == 0 && st.st_size <= DISK_BYTES);
    bf_vmdk_free(vmdk);
    close(fd);
    return 0;
}
