/* SPDX-License-Identifier: Apache-2.0 */
/* What would be changed in a Linux guest, decided on a tree in place of a disk: no appliance.
 *
 *   plan-tree [--mac MAC]... [--disk /dev/sda]... [--filesystem DEVICE,TYPE,UUID]... [--console] \
 *             [--root DEVICE] < TAR-OF-THE-ROOT
 *
 * Standard output: {"changes": [{"path", "summary", "text"}], "warnings": [...]} or {"error"}.
 * A change of an initramfs has no text. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/linux.h"

#define LIST_MAX 16

static const struct option options[] = {
    {"mac", required_argument, NULL, 'm'},        {"disk", required_argument, NULL, 'd'},
    {"filesystem", required_argument, NULL, 'f'}, {"console", no_argument, NULL, 'c'},
    {"root", required_argument, NULL, 'r'},       {NULL, 0, NULL, 0},
};

struct arguments {
    const char *macs[LIST_MAX];
    size_t mac_count;
    bool console;
};

static void add_disk(struct bf_session *session, const char *device)
{
    size_t count = 0;

    while (session->devices[count])
        count++;
    if (count < LIST_MAX)
        session->devices[count] = bf_xstrdup(device);
}

/* DEVICE,TYPE,UUID */
static void add_filesystem(struct bf_session *session, const char *text)
{
    struct bf_filesystem *filesystem;
    const char *type = strchr(text, ','), *uuid = type ? strchr(type + 1, ',') : NULL;

    if (!uuid)
        return;
    bf_xgrow(&session->filesystems, &session->filesystem_capacity, session->filesystem_count + 1,
             sizeof(*session->filesystems));
    filesystem = &session->filesystems[session->filesystem_count++];
    filesystem->device = bf_xasprintf("%.*s", (int)(type - text), text);
    filesystem->type = bf_xasprintf("%.*s", (int)(uuid - type - 1), type + 1);
    filesystem->uuid = bf_xstrdup(uuid + 1);
}

static bool read_arguments(int argc, char **argv, struct bf_session *session,
                           struct arguments *arguments)
{
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (option == 'm' && arguments->mac_count < LIST_MAX)
            arguments->macs[arguments->mac_count++] = optarg;
        else if (option == 'd')
            add_disk(session, optarg);
        else if (option == 'f')
            add_filesystem(session, optarg);
        else if (option == 'c')
            arguments->console = true;
        else if (option == 'r')
            session->root = bf_xstrdup(optarg);
        else
            return false;
    }
    return optind == argc;
}

static int plan(struct bf_session *session, const struct arguments *arguments, struct bf_error *err)
{
    if (bf_tree_add_archive(&session->tree, 0, "", NULL, err) < 0 ||
        bf_linux_plan_initrd(session, err) < 0 || bf_linux_plan_generators(session, err) < 0 ||
        bf_linux_plan_names(session, err) < 0)
        return -1;
    if (arguments->console && bf_linux_plan_console(session, err) < 0)
        return -1;
    bf_linux_plan_network(session, arguments->macs, arguments->mac_count);
    return 0;
}

static struct json_object *changes_of(const struct bf_session *session)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < session->change_count; i++) {
        const struct bf_change *change = &session->changes[i];
        struct json_object *item = json_object_new_object();

        bf_json_add_string(item, "path", change->path);
        bf_json_add_string(item, "summary", change->summary);
        if (change->kind != BF_CHANGE_APPEND)
            bf_json_add_string(item, "text", change->data);
        json_object_array_add(list, item);
    }
    return list;
}

int main(int argc, char **argv)
{
    bf_cleanup(bf_session_done) struct bf_session session = {0};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_json *value = json_object_new_object();
    struct arguments arguments = {0};

    session.devices = bf_xcalloc(LIST_MAX + 1, sizeof(*session.devices));
    if (!read_arguments(argc, argv, &session, &arguments)) {
        fputs("usage: plan-tree [options] < TAR\n", stderr);
        return 2;
    }
    if (plan(&session, &arguments, &err) < 0) {
        json_object_object_add(value, "error", bf_json_error(&err));
        puts(bf_json_text(value));
        return 1;
    }
    json_object_object_add(value, "changes", changes_of(&session));
    json_object_object_add(value, "warnings",
                           session.warnings ? json_object_get(session.warnings)
                                            : json_object_new_array());
    puts(bf_json_text(value));
    return 0;
}
