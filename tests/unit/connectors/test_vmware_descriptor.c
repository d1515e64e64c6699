/* SPDX-License-Identifier: Apache-2.0 */
/* Which file holds the bytes of a VMDK. */
#include "base/cleanup.h"
#include "base/text.h"
#include "connectors/vmware/descriptor.h"
#include "tests/unit/tap.h"

#define HEAD "# Disk DescriptorFile\nversion=1\nCID=fffffffe\n"
#define BASE HEAD "parentCID=ffffffff\ncreateType=\"vmfs\"\n\n# Extent description\n"
#define SIZE (2048 * UINT64_C(512))

static const struct {
    const char *text;
    const char *file; /* NULL: refused */
} cases[] = {
    {BASE "RW 2048 VMFS \"web-flat.vmdk\"\n\nddb.x = \"1\"\n", "web-flat.vmdk"},
    {BASE "RDONLY 2048 VMFS \"a b (1)-flat.vmdk\"", "a b (1)-flat.vmdk"},
    {HEAD "parentCID=FFFFFFFF\r\nRW 2048 FLAT \"x-flat.vmdk\" 0\r\n", "x-flat.vmdk"},
    {BASE "RW 2048 FLAT \"x-flat.vmdk\" 128\n", NULL},
    {BASE "RW 2048 FLAT \"x-flat.vmdk\" x\n", NULL},
    {BASE "RW 2047 VMFS \"x-flat.vmdk\"\n", NULL},
    {BASE "RW 36028797018963968 VMFS \"x-flat.vmdk\"\n", NULL}, /* times 512 is 0 in 64 bits */
    {BASE "RW 1024 VMFS \"a-flat.vmdk\"\nRW 1024 VMFS \"b-flat.vmdk\"\n", NULL},
    {BASE "RW 2048 SESPARSE \"x-sesparse.vmdk\"\n", NULL},
    {BASE "RW 2048 VMFSRDM \"x-rdm.vmdk\"\n", NULL},
    {BASE "RW 2048 VMFS \"../other/x-flat.vmdk\"\n", NULL},
    {BASE "RW 2048 VMFS \"\"\n", NULL},
    {BASE "RW 2048 VMFS x-flat.vmdk\n", NULL},
    {BASE "RW\n", NULL},
    {BASE, NULL},
    {HEAD "parentCID=12345678\nRW 2048 VMFS \"x-flat.vmdk\"\n", NULL},
    {"KDMV", NULL},
    {"", NULL},
};

int main(void)
{
    for (size_t i = 0; i < bf_array_length(cases); i++) {
        struct bf_error err = BF_ERROR_INIT;
        bf_auto_free char *file = NULL;
        int rc = bf_vmware_descriptor_flat(cases[i].text, SIZE, &file, &err);

        is_int(rc, cases[i].file ? 0 : -1, "case %zu: %s", i, err.message ? err.message : "a file");
        is_string(file, cases[i].file, "its file");
        is_error(&err, cases[i].file ? BF_OK : BF_E_PLATFORM_UNSUPPORTED, "its error");
    }
    return done();
}
