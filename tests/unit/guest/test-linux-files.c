/* SPDX-License-Identifier: Apache-2.0 */
/* Edits and readings of a Linux guest's text files. */
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/edit.h"
#include "guest/interfaces.h"
#include "guest/modules.h"
#include "guest/names.h"
#include "tests/unit/tap.h"

static char *resolve(const char *device, void *user)
{
    (void)user;
    if (bf_streq(device, "/dev/sda1") || bf_streq(device, "/dev/hda1"))
        return bf_xstrdup("aaaa");
    if (bf_streq(device, "/dev/sda12") || bf_streq(device, "/dev/sdaa"))
        return bf_xstrdup("bbbb");
    if (bf_streq(device, "/dev/disk/by-id/scsi-3-part1") || bf_streq(device, "/dev/nvme0n1p1"))
        return bf_xstrdup("cccc");
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
    names("/dev/disk/by-id/scsi-3-part1 / ext3\n/dev/disk/by-id/dm-name-a-b /x xfs\n"
          "/dev/disk/by-uuid/1 /y xfs\n",
          BF_EDIT_FIELD_1,
          "UUID=cccc / ext3\n/dev/disk/by-id/dm-name-a-b /x xfs\n/dev/disk/by-uuid/1 /y xfs\n",
          false);
    names("kernelopts=root=/dev/nvme0n1p1 ro\n", BF_EDIT_BOOT_LINE,
          "kernelopts=root=UUID=cccc ro\n", false);
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

    bf_cleanup(bf_interfaces_done) struct bf_interfaces kept = {0};

    bf_interfaces_collect(text, form, &names, &kept);
    bf_buf_add(&all, "", 0);
    for (size_t i = 0; i < names.count; i++)
        bf_buf_addf(&all, "%s%s%s ", names.names[i], names.macs[i] ? "=" : "",
                    names.macs[i] ? names.macs[i] : "");
    for (size_t i = 0; i < kept.count; i++)
        bf_buf_addf(&all, "kept:%s=%s ", kept.names[i], kept.macs[i] ? kept.macs[i] : "?");
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
               BF_INTERFACES_NETPLAN, "ens4 ");
    interfaces("network:\n ethernets:\n  a:\n   match: {}\n  lan:\n   match:\n"
               "    macaddress: \"00:0C:29:01:02:03\" # card\n   set-name: ens160\n"
               "  ens4:\n   match:\n    macaddress: 00:0c:29:01:02:04\n"
               "  x:\n   match:\n    name: ens7\n",
               BF_INTERFACES_NETPLAN, "ens7 kept:ens160=00:0c:29:01:02:03 ");
    interfaces("DEVICE=ens192\nHWADDR=\"00:0C:29:01:02:03\"\n", BF_INTERFACES_IFCFG,
               "ens192=00:0c:29:01:02:03 ");
    interfaces("[connection]\ninterface-name=eth1\n[ethernet]\nmac-address=00:0c:29:01:02:03\n",
               BF_INTERFACES_KEYFILE, "eth1=00:0c:29:01:02:03 ");
    interfaces("# KERNEL==\"eth*\", ATTR{address}==\"00:0c:29:01:02:03\", NAME=\"eth9\"\n"
               "SUBSYSTEM==\"net\", DRIVERS==\"?*\", ATTR{address}==\"00:0c:29:01:02:03\", "
               "KERNEL==\"eth*\", NAME=\"eth0\"\n"
               "DRIVERS==\"e1000\", ATTR{address}==\"00:0c:29:01:02:04\", NAME=\"eth1\"\n",
               BF_INTERFACES_RULES, "kept:eth0=00:0c:29:01:02:03 ");
    interfaces("[Match]\nMACAddress=00:0c:29:01:02:03\n[Link]\nName=ens5\n", BF_INTERFACES_LINK,
               "kept:ens5=00:0c:29:01:02:03 ");
    interfaces("[Match]\nMACAddress=00:0c:29:01:02:03\nPath=pci-*\n[Link]\nName=ens5\n",
               BF_INTERFACES_LINK, "");
    interfaces("iface en../../etc/x inet dhcp\niface enaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa inet x\n",
               BF_INTERFACES_DEBIAN, "");
}

/* names and kept: "NAME[=MAC] ..." */
static void assign(const char *pinned, const char *kept, const char *const *macs, size_t count,
                   enum bf_interfaces_answer want, const char *text)
{
    static unsigned number;
    struct bf_interfaces lists[3] = {{0}};
    const char *texts[2] = {pinned, kept};
    bf_auto_buf all = {0};

    for (size_t i = 0; i < 2; i++)
        for (const char *at = texts[i]; *at; at += strcspn(at, " "), at += *at == ' ') {
            bf_auto_free char *name = bf_xasprintf("%.*s", (int)strcspn(at, "= "), at);
            const char *mac = at[strlen(name)] == '=' ? at + strlen(name) + 1 : NULL;

            bf_interfaces_add(&lists[i], name, mac);
        }
    number++;
    is_int(bf_interfaces_assign(&lists[0], &lists[1], macs, count, &lists[2]), want, "answer %u",
           number);
    bf_buf_add(&all, "", 0);
    for (size_t i = 0; i < lists[2].count; i++)
        bf_buf_addf(&all, "%s=%s ", lists[2].names[i], lists[2].macs[i]);
    is_string(all.text, text, "assigned %u", number);
    for (size_t i = 0; i < 3; i++)
        bf_interfaces_done(&lists[i]);
}

static void cards(void)
{
    static const char *const macs[] = {"00:0C:29:00:00:01", "00:0c:29:00:00:02"};

    assign("", "", macs, 2, BF_INTERFACES_CLEAR, "");
    assign("ens33", "", macs, 1, BF_INTERFACES_CLEAR, "ens33=00:0c:29:00:00:01 ");
    assign("ens33", "", macs, 2, BF_INTERFACES_UNCLEAR, "");
    assign("ens224 ens192", "", macs, 2, BF_INTERFACES_BY_ORDER,
           "ens192=00:0c:29:00:00:01 ens224=00:0c:29:00:00:02 ");
    assign("ens1024 ens160", "", macs, 2, BF_INTERFACES_BY_ORDER,
           "ens160=00:0c:29:00:00:01 ens1024=00:0c:29:00:00:02 ");
    assign("ens192=00:0c:29:00:00:02 ens224", "", macs, 2, BF_INTERFACES_CLEAR,
           "ens192=00:0c:29:00:00:02 ens224=00:0c:29:00:00:01 ");
    assign("eth0 eth1", "eth0=00:0c:29:00:00:01 eth1=00:0c:29:00:00:02", macs, 2,
           BF_INTERFACES_CLEAR, "");
    assign("eth0 eth1", "eth0=00:0c:29:00:00:02", macs, 2, BF_INTERFACES_CLEAR,
           "eth1=00:0c:29:00:00:01 ");
    assign("ens5=00:0c:29:00:00:09", "", macs, 1, BF_INTERFACES_CLEAR, "");
    assign("ens5", "", NULL, 0, BF_INTERFACES_UNCLEAR, "");
}

static void is_device(const char *name, size_t disks, const char *want)
{
    char first[] = "/dev/sda", second[] = "/dev/sdb";
    char *devices[] = {first, second, NULL};
    bf_auto_free char *device = NULL;

    devices[disks] = NULL;
    device = bf_names_device(name, devices);
    is_string(device, want, "%s", name);
}

static void disk_names(void)
{
    bf_cleanup(bf_fstab_done) struct bf_fstab table = {0};

    is_device("/dev/sdb2", 2, "/dev/sdb2");
    is_device("/dev/hda1", 2, "/dev/sda1");
    is_device("/dev/xvda1", 2, "/dev/sda1");
    is_device("/dev/nvme1n1p3", 2, "/dev/sdb3");
    is_device("/dev/nvme2n1p3", 2, NULL);
    is_device("/dev/mapper/vg--a-root", 2, "/dev/vg-a/root");
    is_device("/dev/disk/by-id/scsi-36000c29-part2", 1, "/dev/sda2");
    is_device("/dev/disk/by-id/scsi-36000c29-part2", 2, NULL);
    is_device("/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0", 1, "/dev/sda");
    is_device("/dev/disk/by-id/dm-name-vg-root", 2, "/dev/vg/root");
    is_device("UUID=1", 1, NULL);
    ok(bf_names_tag("UUID=aB-1", "UUID", "ab-1"), "UUID=");
    ok(bf_names_tag("LABEL=\"root\"", "LABEL", "root"), "quoted");
    ok(bf_names_tag("/dev/disk/by-uuid/ab", "UUID", "ab"), "by-uuid");
    ok(!bf_names_tag("UUID=ab", "LABEL", "ab") && !bf_names_tag("UUID=ab", "UUID", NULL), "others");
    bf_fstab_parse(
        "# c\n/dev/sda1 / ext4 defaults 0 1\nproc /proc proc defaults\n/a /usr none bind\n"
        "UUID=1 none swap sw\nUUID=2 /boot btrfs rw,subvol=@/boot,x 0 0\nbad\n",
        &table);
    is_u64(table.count, 2, "entries of disks");
    is_string(table.entries[1].mountpoint, "/boot", "mount point");
    {
        bf_auto_free char *mountable = bf_fstab_mountable(&table.entries[1], "/dev/sda2");

        is_string(mountable, "btrfsvol:/dev/sda2/@/boot", "subvolume");
    }
}

static void boot_files(void)
{
    bf_auto_free char *menu = bf_edit_serial_console(
        "menuentry {\n linux /vmlinuz root=UUID=1 ro\n initrd /i\n}\nlinux /vmlinuz-1\n"
        "options root=UUID=1 console=ttyS0\n");
    bf_auto_free char *again = bf_edit_serial_console(menu);
    bf_auto_free char *block = bf_edit_environment_fit("# GRUB Environment Block\na=1\n####");
    char long_text[1100];

    is_string(menu,
              "menuentry {\n linux /vmlinuz root=UUID=1 ro console=ttyS0,115200\n initrd /i\n}\n"
              "linux /vmlinuz-1\noptions root=UUID=1 console=ttyS0\n",
              "a console for each kernel without");
    is_string(again, NULL, "twice changes nothing");
    is_u64(strlen(block), 1024, "an environment block keeps its size");
    ok(bf_starts_with(block, "# GRUB Environment Block\na=1\n##"), "and its content");
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    ok(bf_edit_environment_fit(long_text) == NULL, "too long");
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
    cards();
    disk_names();
    boot_files();
    modules();
    return done();
}
