/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor of a disk, as a server sends it. */
#include <string.h>

#include "base/text.h"
#include "connectors/vmware/descriptor.h"
#include "tests/fuzz/fuzz.h"

#define DISK_BYTES (UINT64_C(2048) * 512)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_auto_error err = BF_ERROR_INIT;
    char *file = NULL;
    char *text = malloc(size + 1); /* of its own size, so that reading beyond it is seen */

    FUZZ_CHECK(text);
    memcpy(text, data, size);
    text[size] = '\0';
    int rc = bf_vmware_descriptor_flat(text, DISK_BYTES, &file, &err);
    FUZZ_CHECK((rc == 0) == !bf_error_is_set(&err) && (rc == 0) == (file != NULL));
    /* A file of the disk's own directory. */
    FUZZ_CHECK(!file ||
               (*file && !strchr(file, '/') && strcmp(file, ".") != 0 && strcmp(file, "..") != 0));
    free(file);
    free(text);
    return 0;
}
