/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/file_identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "tests/unit/tap.h"

static char directory[] = "/tmp/test-file-identity-XXXXXX";

static char *place(const char *name)
{
    return bf_xasprintf("%s/%s", directory, name);
}

static void put(const char *name, const char *text)
{
    bf_auto_free char *path = place(name);
    bf_auto_error err = BF_ERROR_INIT;
    char *slash = strrchr(path, '/');

    *slash = '\0';
    bool made = bf_directory_make(path, 0700, &err) == 0;
    *slash = '/';
    if (!made || bf_file_replace(path, text, strlen(text), 0600, &err))
        abort();
}

static char *identity_of(const char *name)
{
    bf_auto_free char *path = place(name);

    return bf_file_identity_at(path, "disk");
}

static void rename_it(const char *from, const char *to)
{
    bf_auto_free char *old_path = place(from), *new_path = place(to);

    if (rename(old_path, new_path))
        abort();
}

static void test_files(void)
{
    put("one", "1");
    put("two", "2");
    bf_auto_free char *one = identity_of("one"), *two = identity_of("two");
    bf_auto_free char *none = identity_of("none");
    bf_auto_free char *path = place("one");
    bf_auto_fd int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;

    ok(fstat(fd, &st) == 0, "a file");
    bf_auto_free char *start = bf_xasprintf("disk (inode %llu", (unsigned long long)st.st_ino);
    has_string(one, start, "has its number in its name");
    ok(!bf_streq(one, two), "another one has another");
    ok(!none, "one that is not there has none");

    ok(write(fd, "longer", 6) == 6 && fchmod(fd, 0640) == 0 && futimens(fd, NULL) == 0, "changed");
    bf_auto_free char *open_one = bf_file_identity(fd, "disk");
    is_string(open_one, one, "it is the same");
    rename_it("one", "moved");
    bf_auto_free char *moved = identity_of("moved");
    is_string(moved, one, "and under another name");
    rename_it("two", "one");
    bf_auto_free char *other = identity_of("one");
    ok(!bf_streq(other, one), "and the next of its name is not");
}

/* ext4 and others use the number of a removed file for the next one. */
static void test_same_number(void)
{
    bf_auto_free char *path = place("again");

    put("again", "1");
    bf_auto_free char *before = identity_of("again");
    ok(unlink(path) == 0, "removed");
    bf_sleep_ms(20); /* times of files go by ticks of up to 10 ms */
    put("again", "1");
    bf_auto_free char *after = identity_of("again");
    ok(!bf_streq(before, after), "made again it is another one (%s, %s)", before, after);
}

static void is_device(unsigned major, unsigned minor, const char *want, const char *what)
{
    bf_auto_free char *got = bf_device_identity(directory, major, minor);

    is_string(got, want, "%s", what);
}

static void test_devices(void)
{
    bf_auto_free char *link = place("dev/block/8:18");

    put("dev/block/254:3/dm/uuid", "LVM-abc\n");
    is_device(254, 3, "dm/uuid LVM-abc", "a volume of LVM");
    put("dev/block/254:4/dm/uuid", "\n");
    is_device(254, 4, "device 254:4", "one of dm without a UUID");
    put("dev/block/8:16/device/wwid", "t10.ATA     D\303\274sk   1  \n");
    is_device(8, 16, "device/wwid t10.ATA     D??sk   1", "a disk of SCSI");
    put("dev/block/254:16/serial", "disk-7");
    is_device(254, 16, "serial disk-7", "a disk of virtio");
    put("dev/block/7:0/loop/backing_file", "/srv/disk\n");
    is_device(7, 0, "loop/backing_file /srv/disk", "a loop device");
    is_device(43, 0, "device 43:0", "a device that says nothing");
    put("sdb/device/wwid", "naa.5\n");
    put("sdb/sdb2/partition", "2\n");
    put("sdb/sdb2/start", "2048\n");
    ok(symlink("../../sdb/sdb2", link) == 0, "a partition");
    is_device(8, 18, "device/wwid naa.5, from sector 2048", "is known by its disk and place");
}

int main(void)
{
    bf_auto_error err = BF_ERROR_INIT;

    if (!mkdtemp(directory))
        return 1;
    test_files();
    test_same_number();
    test_devices();
    ok(bf_directory_remove(directory, &err) == 0, "clean up");
    return done();
}
