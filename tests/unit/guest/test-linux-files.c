/* SPDX-License-Identifier: Apache-2.0 */
/* Edits and readings of a Linux guest's text files. */
#include "base/cleanup.h"
#include "base/text.h"
#include "guest/edit.h"
#include "guest/interfaces.h"
#include "guest/modules.h"
#include "tests/unit/tap.h"

static char *resolve(const char *device, void *user)
{
    (void)user;
    if (bf_streq(device, "/dev/sda1") || bf_streq(device, "/dev/hda1"))
        return bf_xstrdup("aaaa");
    if (bf_streq(device, "/dev/sda12") || bf_streq(device, "/dev/sdaa"))
        return bf_xstrdup("bbbb");
    return NULL;
}

static void names(const char *text, enum bf_edit_place place, const char *want, bool unresolved)
{
    static unsigned number;
    bool left = false;
    bf_auto_free char *edited = bf_edit_device_names(text, place, resolve, NULL, &left);

    number++;
    is_string(edited, want, "names %u: edited", number);
    is_int(left, unresolved, "names %u: left over", number);
}

static void device_names(void)
{
    names("# /dev/sda1\n/dev/sda1 / ext4\n  /dev/sda12\t/x\nUUID=1 /y\n", BF_EDIT_FIELD_1,
          "# /dev/sda1\nUUID=aaaa / ext4\n  UUID=bbbb\t/x\nUUID=1 /y\n", false);
    names("/dev/sdb1 /srv ext4\n", BF_EDIT_FIELD_1, NULL, true);
    names("/dev/sda1 /a\n/dev/sdz9 /b", BF_EDIT_FIELD_1, "UUID=aaaa /a\n/dev/sdz9 /b", true);
    names("/dev/cdrom /media iso9660\n/dev/mapper/vg-root / xfs\n/dev/sda1x /z\n", BF_EDIT_FIELD_1,
          NULL, false);
    names("/srv /dev/sda1 none bind\n", BF_EDIT_FIELD_1, NULL, false);
    names("crypt /dev/hda1 none luks\n", BF_EDIT_FIELD_2, "crypt UUID=aaaa none luks\n", false);
    names("linux /vmlinuz root=/dev/sda1 ro resume=/dev/sdaa quiet\n", BF_EDIT_BOOT_LINE,
          "linux /vmlinuz root=UUID=aaaa ro resume=UUID=bbbb quiet\n", false);
    names("GRUB_CMDLINE_LINUX=\"root=/dev/sda1\"\n", BF_EDIT_BOOT_LINE,
          "GRUB_CMDLINE_LINUX=\"root=UUID=aaaa\"\n", false);
    names("root=/dev/sdq1", BF_EDIT_BOOT_LINE, NULL, true);
    names("root=UUID=1 set root='hd0,msdos1' /dev/sda1\n", BF_EDIT_BOOT_LINE, NULL, false);
    names("", BF_EDIT_FIELD_1, NULL, false);
}

static void lines_and_words(void)
{
    static const char *const words[] = {"virtio_pci", "virtio_blk", NULL};
    bf_auto_free char *added = bf_edit_add_lines("# comment\nahci\nvirtio_pci", words);
    bf_auto_free char *empty = bf_edit_add_lines("", words);
    bf_auto_free char *again = bf_edit_add_lines(added, words);
    bf_auto_free char *suse = bf_edit_add_words("A=\"1\"\nINITRD_MODULES=\"ahci virtio_pci\"\nB=\n",
                                                "INITRD_MODULES", words);
    bf_auto_free char *suse_again = bf_edit_add_words(suse, "INITRD_MODULES", words);
    bf_auto_free char *none = bf_edit_add_words("X=\"\"\n", "INITRD_MODULES", words);

    is_string(added, "# comment\nahci\nvirtio_pci\nvirtio_blk\n", "the missing line is added");
    is_string(empty, "virtio_pci\nvirtio_blk\n", "an empty file");
    is_string(again, NULL, "twice changes nothing");
    is_string(suse, "A=\"1\"\nINITRD_MODULES=\"ahci virtio_pci virtio_blk\"\nB=\n", "a word more");
    is_string(suse_again, NULL, "twice changes nothing");
    is_string(none, NULL, "no such assignment");
}

static void interfaces(const char *text, enum bf_interfaces_form form, const char *want)
{
    static unsigned number;
    bf_cleanup(bf_interfaces_done) struct bf_interfaces names = {0};
    bf_auto_buf all = {0};

    bf_interfaces_collect(text, form, &names);
    bf_buf_add(&all, "", 0);
    for (size_t i = 0; i < names.count; i++)
        bf_buf_addf(&all, "%s ", names.names[i]);
    is_string(all.text, want, "interfaces %u", ++number);
}

static void network(void)
{
    interfaces("auto lo\niface lo inet loopback\n iface ens33 inet dhcp\niface ens33 inet6 auto\n"
               "#iface eth9 inet dhcp\n",
               BF_INTERFACES_DEBIAN, "ens33 ");
    interfaces("TYPE=Ethernet\nDEVICE=\"eth0\"\n", BF_INTERFACES_IFCFG, "eth0 ");
    interfaces("DEVICE=bond0\n", BF_INTERFACES_IFCFG, "");
    interfaces("[connection]\nid=x\ninterface-name=ens192\n", BF_INTERFACES_KEYFILE, "ens192 ");
    interfaces("[Match]\nName=ens160\n[Network]\nDNS=1\n", BF_INTERFACES_NETWORKD, "ens160 ");
    interfaces("[Match]\nName=en*\n", BF_INTERFACES_NETWORKD, "");
    interfaces("[Link]\nName=eth5\n", BF_INTERFACES_NETWORKD, "");
    interfaces("network:\n  version: 2\n  ethernets:\n    # eth7:\n    ens3:\n      dhcp4: true\n"
               "      match:\n        name: x\n    \"ens4\":\n      dhcp4: true\n"
               "  bonds:\n    eth8:\n      x: 1\n",
               BF_INTERFACES_NETPLAN, "ens3 ens4 ");
    interfaces("iface en../../etc/x inet dhcp\niface enaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa inet x\n",
               BF_INTERFACES_DEBIAN, "");
}

static void modules(void)
{
    static const char dep[] =
        "kernel/a/virtio.ko:\n"
        "kernel/a/virtio_ring.ko: kernel/a/virtio.ko\n"
        "kernel/a/virtio-blk.ko.xz: kernel/a/virtio_ring.ko kernel/a/virtio.ko\n"
        "kernel/a/virtio_blk_test.ko:\n";
    bf_cleanup(bf_module_list_done) struct bf_module_list list = {0};
    bf_auto_free char *name = bf_module_file_name("kernel/a/virtio-blk.ko.xz");

    ok(bf_module_list_add(&list, dep, "virtio_blk"), "known");
    ok(bf_module_list_add(&list, dep, "virtio_ring"), "known");
    ok(!bf_module_list_add(&list, dep, "nvme"), "unknown");
    is_u64(list.count, 3, "each once");
    is_string(list.paths[0], "kernel/a/virtio.ko", "load order");
    is_string(list.paths[1], "kernel/a/virtio_ring.ko", "load order");
    is_string(list.paths[2], "kernel/a/virtio-blk.ko.xz", "load order");
    is_string(name, "virtio-blk.ko", "name without compression");
    ok(bf_module_is_builtin("kernel/x/a.ko\nkernel/x/virtio_pci.ko\n", "virtio_pci"), "built in");
    ok(!bf_module_is_builtin("kernel/x/virtio_pci_x.ko\n", "virtio_pci"), "not built in");
}

int main(void)
{
    device_names();
    lines_and_words();
    network();
    modules();
    return done();
}
