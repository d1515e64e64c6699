/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's initramfs: archives of any kind, one behind the other.  One that can be read is read
 * with ours behind it, too. */
#include <string.h>

#include "base/cleanup.h"
#include "guest/initrd.h"
#include "tests/fuzz/fuzz.h"

#define MODULES 2

static void scan_with_ours(const struct bf_initrd *before, const uint8_t *data, size_t size)
{
    static const struct bf_initrd_module modules[MODULES] = {{"virtio.ko", "one", 3},
                                                             {"virtio_blk.ko", "three", 5}};
    static const char *const remove[] = {"/etc/lvm/devices/system.devices", NULL};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_initrd after = {0};
    bf_auto_buf archive = {0};
    bf_auto_buf image = {0};

    if (bf_initrd_build(before, modules, MODULES, remove, &archive, &err) < 0) {
        FUZZ_CHECK(err.code == BF_E_GUEST_UNSUPPORTED && !archive.length);
        return;
    }
    bf_buf_add(&image, (const char *)data, size);
    bf_buf_add(&image, archive.text, archive.length);
    FUZZ_CHECK(bf_initrd_scan(image.text, image.length, &after, &err) == 0);
    FUZZ_CHECK(after.injected && after.archives > before->archives && after.size == image.length);
    FUZZ_CHECK(after.injected_at <= size + 3 && (before->injected || after.injected_at >= size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char virtio[] = "virtio.ko", block[] = "virtio_blk.ko";
    char *const names[MODULES] = {virtio, block};
    struct bf_buf taken[MODULES] = {0};
    bf_auto_error err = BF_ERROR_INIT, again = BF_ERROR_INIT;
    bf_auto_initrd initrd = {0};
    int rc = bf_initrd_scan(data, size, &initrd, &err);

    FUZZ_CHECK((rc == 0) == !bf_error_is_set(&err));
    if (rc < 0) {
        FUZZ_CHECK(err.code == BF_E_GUEST_UNSUPPORTED || err.code == BF_E_GUEST_INITRAMFS);
        return 0;
    }
    FUZZ_CHECK(initrd.size == size && initrd.archives > 0);
    FUZZ_CHECK(!initrd.injected || initrd.injected_at < size);
    FUZZ_CHECK(bf_initrd_take_modules(data, size, "1", names, MODULES, taken, &again) == 0);
    for (size_t i = 0; i < MODULES; i++)
        bf_buf_done(&taken[i]);
    scan_with_ours(&initrd, data, size);
    return 0;
}
