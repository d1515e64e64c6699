/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/interfaces.h"
#include "guest/linux.h"

static void strings_free_at(char ***at)
{
    bf_strings_free(*at);
}

static void collect_file(struct bf_session *session, const char *path, enum bf_interfaces_form form,
                         struct bf_interfaces *names)
{
    bf_auto_free char *text = bf_session_read(session, path, NULL);

    if (text)
        bf_interfaces_collect(text, form, names);
}

static void collect_glob(struct bf_session *session, const char *pattern,
                         enum bf_interfaces_form form, struct bf_interfaces *names)
{
    bf_cleanup(strings_free_at) char **paths = guestfs_glob_expand(session->g, pattern);

    for (size_t i = 0; paths && paths[i]; i++)
        collect_file(session, paths[i], form, names);
}

/* Only a name that the configuration pins matters; whatever matches any interface goes on. */
void bf_linux_interfaces(struct bf_session *session, struct bf_interfaces *names)
{
    bf_cleanup(strings_free_at) char **etc = bf_session_list(session, "/etc");

    if (bf_strings_have(etc, "network")) {
        collect_file(session, "/etc/network/interfaces", BF_INTERFACES_DEBIAN, names);
        collect_glob(session, "/etc/network/interfaces.d/*", BF_INTERFACES_DEBIAN, names);
    }
    if (bf_strings_have(etc, "sysconfig"))
        collect_glob(session, "/etc/sysconfig/network-scripts/ifcfg-*", BF_INTERFACES_IFCFG, names);
    if (bf_strings_have(etc, "NetworkManager"))
        collect_glob(session, "/etc/NetworkManager/system-connections/*", BF_INTERFACES_KEYFILE,
                     names);
    if (bf_strings_have(etc, "netplan"))
        collect_glob(session, "/etc/netplan/*.yaml", BF_INTERFACES_NETPLAN, names);
    if (bf_strings_have(etc, "systemd"))
        collect_glob(session, "/etc/systemd/network/*.network", BF_INTERFACES_NETWORKD, names);
}

/* Driver= keeps the file without effect on the old hardware, should the disk go back there. */
static void write_link(struct bf_session *session, const char *mac, const char *name)
{
    bf_auto_free char *path = bf_xasprintf("/etc/systemd/network/70-blockferry-%s.link", name);
    bf_auto_free char *text = bf_xasprintf("[Match]\nMACAddress=%s\nDriver=virtio_net\n\n"
                                           "[Link]\nName=%s\n",
                                           mac, name);
    bf_auto_free char *summary = bf_xasprintf("the interface of %s keeps its name %s", mac, name);
    bf_auto_free char *present = NULL;

    if (guestfs_is_dir(session->g, "/etc/systemd/network") != 1) {
        bf_session_warn(session, "the guest's systemd cannot keep the interface name %s", name);
        return;
    }
    present = bf_session_read(session, path, NULL);
    if (!bf_streq(present, text))
        bf_session_write(session, path, text, present == NULL, summary);
}

void bf_linux_plan_network(struct bf_session *session, const char *const *macs, size_t mac_count)
{
    bf_cleanup(bf_interfaces_done) struct bf_interfaces names = {0};

    bf_linux_interfaces(session, &names);
    if (names.count == 0)
        return;
    if (names.count == 1 && mac_count == 1) {
        write_link(session, macs[0], names.names[0]);
        return;
    }
    bf_session_warn(
        session,
        "the guest's network configuration names %zu interfaces (%s ...) and the machine "
        "has %zu; which is which is not known, so names may change",
        names.count, names.names[0], mac_count);
}
