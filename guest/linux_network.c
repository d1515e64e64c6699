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

static void collect_glob(struct bf_session *session, const char *pattern,
                         enum bf_interfaces_form form, struct bf_interfaces *pinned,
                         struct bf_interfaces *kept)
{
    bf_cleanup(strings_free_at) char **paths = bf_session_glob(session, pattern);

    for (size_t i = 0; paths[i]; i++) {
        bf_auto_free char *text = bf_session_read(session, paths[i], NULL);

        if (!text)
            continue;
        bf_interfaces_collect(text, form, pinned, kept);
        if (kept && (form == BF_INTERFACES_NETPLAN || form == BF_INTERFACES_NETWORKD) &&
            bf_interfaces_match_hardware(text, form))
            bf_session_warn(session,
                            "%s matches interfaces by their driver or place on the bus; it will "
                            "not match the new card",
                            paths[i]);
    }
}

/* wicked tells the name by the file's. */
static void collect_wicked(struct bf_session *session, struct bf_interfaces *pinned)
{
    static const char before[] = "/etc/sysconfig/network/ifcfg-";
    bf_cleanup(strings_free_at) char **paths =
        bf_session_glob(session, "/etc/sysconfig/network/ifcfg-*");

    for (size_t i = 0; paths[i]; i++)
        bf_interfaces_add(pinned, paths[i] + sizeof(before) - 1, NULL);
}

/* Only a name that the configuration pins matters; whatever matches any interface goes on. */
static void collect(struct bf_session *session, struct bf_interfaces *pinned,
                    struct bf_interfaces *kept)
{
    static const struct {
        const char *pattern;
        enum bf_interfaces_form form;
    } files[] = {
        {"/etc/network/interfaces", BF_INTERFACES_DEBIAN},
        {"/etc/network/interfaces.d/*", BF_INTERFACES_DEBIAN},
        {"/etc/sysconfig/network-scripts/ifcfg-*", BF_INTERFACES_IFCFG},
        {"/etc/NetworkManager/system-connections/*", BF_INTERFACES_KEYFILE},
        {"/etc/netplan/*.yaml", BF_INTERFACES_NETPLAN},
        {"/etc/systemd/network/*.network", BF_INTERFACES_NETWORKD},
        {"/etc/systemd/network/*.link", BF_INTERFACES_LINK},
        {"/etc/udev/rules.d/*.rules", BF_INTERFACES_RULES},
    };

    for (size_t i = 0; i < bf_array_length(files); i++)
        collect_glob(session, files[i].pattern, files[i].form, pinned, kept);
    collect_wicked(session, pinned);
}

void bf_linux_interfaces(struct bf_session *session, struct bf_interfaces *names)
{
    collect(session, names, NULL);
}

/* Driver= keeps the file without effect on the old hardware, should the disk go back there. */
static void write_link(struct bf_session *session, const char *mac, const char *name)
{
    bf_auto_free char *path = bf_xasprintf("/etc/systemd/network/70-blockferry-%s.link", name);
    bf_auto_free char *text = bf_xasprintf("[Match]\nMACAddress=%s\nDriver=virtio_net\n\n"
                                           "[Link]\nName=%s\n",
                                           mac, name);
    bf_auto_free char *summary = bf_xasprintf("the interface of %s keeps its name %s", mac, name);
    bf_auto_free char *present = bf_session_read(session, path, NULL);

    if (!bf_streq(present, text))
        bf_session_write(session, path, text, present == NULL, summary);
}

/* udev before systemd 197 knows no .link files. */
static void write_rule(struct bf_session *session, const char *mac, const char *name)
{
    static const char path[] = "/etc/udev/rules.d/70-persistent-net.rules";
    bf_auto_free char *present = bf_session_read(session, path, NULL);
    bf_auto_free char *rule = bf_xasprintf(
        "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"virtio*\", ATTR{address}==\"%s\", "
        "ATTR{type}==\"1\", KERNEL==\"eth*\", NAME=\"%s\"\n",
        mac, name);
    bf_auto_free char *text = bf_xasprintf("%s%s", present ? present : "", rule);
    bf_auto_free char *summary = bf_xasprintf("the interface of %s keeps its name %s", mac, name);

    /* One that cannot be read must not be written over. */
    if (!present && bf_session_exists(session, path))
        return;
    if (!present || !strstr(present, rule))
        bf_session_write(session, path, text, present == NULL, summary);
}

static bool knows_links(struct bf_session *session)
{
    return bf_session_exists(session, "/usr/lib/systemd/network") ||
           bf_session_exists(session, "/lib/systemd/network");
}

void bf_linux_plan_network(struct bf_session *session, const char *const *macs, size_t mac_count)
{
    bf_cleanup(bf_interfaces_done) struct bf_interfaces pinned = {0};
    bf_cleanup(bf_interfaces_done) struct bf_interfaces kept = {0};
    bf_cleanup(bf_interfaces_done) struct bf_interfaces assigned = {0};
    enum bf_interfaces_answer answer;
    bool links;

    collect(session, &pinned, &kept);
    answer = bf_interfaces_assign(&pinned, &kept, macs, mac_count, &assigned);
    if (answer == BF_INTERFACES_UNCLEAR)
        bf_session_warn(session,
                        "the guest's network configuration names %zu interfaces (%s ...) and the "
                        "machine has %zu; which is which is not known, so names may change",
                        pinned.count, pinned.names[0], mac_count);
    if (answer == BF_INTERFACES_BY_ORDER)
        bf_session_warn(
            session,
            "the guest's network configuration names interfaces without their MAC "
            "addresses; they were given to the machine's cards in their order (%s first)",
            assigned.names[0]);
    links = assigned.count > 0 && knows_links(session);
    for (size_t i = 0; i < assigned.count; i++) {
        if (links)
            write_link(session, assigned.macs[i], assigned.names[i]);
        else
            write_rule(session, assigned.macs[i], assigned.names[i]);
    }
}
