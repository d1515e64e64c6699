/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/socket_access.h"

#include <errno.h>
#include <string.h>
#include <sys/acl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

static void acl_free_at(acl_t *at)
{
    if (*at)
        acl_free(*at);
}
#define auto_acl __attribute__((cleanup(acl_free_at))) acl_t

/* The entry of this user, if the list has one. */
static int find_user(acl_t list, uid_t user, acl_entry_t *ret_entry)
{
    acl_entry_t entry;
    int which = ACL_FIRST_ENTRY;

    for (; acl_get_entry(list, which, &entry) == 1; which = ACL_NEXT_ENTRY) {
        acl_tag_t tag;
        uid_t *of;

        if (acl_get_tag_type(entry, &tag) < 0 || tag != ACL_USER)
            continue;
        of = acl_get_qualifier(entry);
        bool same = of && *of == user;
        if (of)
            acl_free(of);
        if (same) {
            *ret_entry = entry;
            return 1;
        }
    }
    return 0;
}

static int allow(acl_t *list, uid_t user, bool write)
{
    acl_entry_t entry;
    acl_permset_t rights;

    if (find_user(*list, user, &entry) == 0 &&
        (acl_create_entry(list, &entry) < 0 || acl_set_tag_type(entry, ACL_USER) < 0 ||
         acl_set_qualifier(entry, &user) < 0))
        return -1;
    if (acl_get_permset(entry, &rights) < 0 || acl_clear_perms(rights) < 0 ||
        acl_add_perm(rights, ACL_EXECUTE) < 0 || (write && acl_add_perm(rights, ACL_WRITE) < 0))
        return -1;
    return acl_calc_mask(list);
}

static int let_in(const char *directory, uid_t user, bool write)
{
    auto_acl list = acl_get_file(directory, ACL_TYPE_ACCESS);

    return list && allow(&list, user, write) == 0 ? acl_set_file(directory, ACL_TYPE_ACCESS, list)
                                                  : -1;
}

/* What is made in the directory by another user is ours to open, too: connecting to a socket takes
 * the right to write it. */
static int keep_ours(const char *directory)
{
    bf_auto_free char *text =
        bf_xasprintf("u::rwx,u:%u:rwx,g::---,m::rwx,o::---", (unsigned)geteuid());
    auto_acl list = acl_from_text(text);

    return list ? acl_set_file(directory, ACL_TYPE_DEFAULT, list) : -1;
}

int bf_libvirt_socket_share(const char *directory, uid_t qemu, struct bf_error *err)
{
    const char *slash = strrchr(directory, '/');
    bf_auto_free char *parent = bf_xasprintf("%.*s", (int)(slash - directory), directory);
    struct stat st;

    if (qemu == 0 || qemu == geteuid())
        return 0;
    if (let_in(directory, qemu, true) < 0 || keep_ours(directory) < 0 || stat(parent, &st) < 0 ||
        (st.st_uid == geteuid() && !(st.st_mode & S_IXOTH) && let_in(parent, qemu, false) < 0))
        return bf_fail(err, BF_E_SYSTEM, errno,
                       "letting QEMU (user %u) into %s; or name another directory by the "
                       "platform's option socket_directory",
                       (unsigned)qemu, directory);
    return 0;
}
