/* SPDX-License-Identifier: Apache-2.0 */
/* A Linux guest's plan: the very changes that the conversion would make, and what follows of them.
 *
 * When there is nothing to do: no change is needed now, and none will be after the guest's next
 * kernel update.  The second half is what makes it safe to launch later without looking again:
 * virtio is part of the kernels, or their initramfs generator puts it into every image, because its
 * configuration says so or because it makes generic images (MODULES=most, hostonly=no). */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/inspect_guest.h"
#include "guest/linux.h"
#include "guest/plan.h"

static void strings_free_at(char ***at)
{
    bf_strings_free(*at);
}

char *bf_inspect_value(const char *text, const char *key)
{
    size_t length = strlen(key);
    char *value = NULL;

    for (const char *line = text; line && *line;) {
        const char *at = line + strspn(line, " \t");

        if (strncmp(at, key, length) == 0 && at[length] == '=') {
            at += length + 1;
            at += strspn(at, "\"' ");
            free(value);
            value = bf_xasprintf("%.*s", (int)strcspn(at, "\"' \n#"), at);
        }
        line = strchr(line, '\n');
        if (line)
            line++;
    }
    return value;
}

/* Over a directory of configuration files in their order: the last one counts. */
static void read_values(struct bf_session *session, const char *pattern, const char *key,
                        char **value)
{
    bf_cleanup(strings_free_at) char **paths = bf_session_glob(session, pattern);

    for (size_t i = 0; paths[i]; i++) {
        bf_auto_free char *text = bf_session_read(session, paths[i], NULL);
        char *found = text ? bf_inspect_value(text, key) : NULL;

        if (found) {
            free(*value);
            *value = found;
        }
    }
}

/* The generator's name, NULL: not known; is every image it makes a generic one? */
static const char *find_generator(struct bf_session *session, bool *ret_generic)
{
    bf_auto_free char *value = NULL;

    *ret_generic = false;
    if (bf_session_exists(session, "/etc/initramfs-tools/initramfs.conf")) {
        read_values(session, "/etc/initramfs-tools/initramfs.conf", "MODULES", &value);
        read_values(session, "/etc/initramfs-tools/conf.d/*", "MODULES", &value);
        *ret_generic = bf_streq(value, "most");
        return "initramfs-tools";
    }
    if (bf_session_exists(session, "/etc/dracut.conf.d")) {
        read_values(session, "/usr/lib/dracut/dracut.conf.d/*.conf", "hostonly", &value);
        read_values(session, "/etc/dracut.conf", "hostonly", &value);
        read_values(session, "/etc/dracut.conf.d/*.conf", "hostonly", &value);
        *ret_generic = bf_streq(value, "no");
        return "dracut";
    }
    return NULL;
}

static bool all_kernels_have(struct json_object *kernels)
{
    for (size_t i = 0; i < json_object_array_length(kernels); i++)
        if (!bf_streq(bf_plan_text(json_object_array_get_idx(kernels, i), "virtio"), "kernel"))
            return false;
    return json_object_array_length(kernels) > 0;
}

/* Changes of the generator's configuration come last: they are from `needed` on. */
static bool stays_so(struct bf_session *session, size_t needed, struct json_object *facts)
{
    bool generic = false;
    const char *generator = find_generator(session, &generic);
    bool configured;

    bf_json_add_string(facts, "generator", generator);
    bf_json_add_bool(facts, "generator_generic", generic);
    /* No change of a configuration that is there: it says virtio already. */
    configured = generator && session->change_count == needed &&
                 (!bf_streq(generator, "initramfs-tools") ||
                  bf_session_exists(session, "/etc/initramfs-tools/modules"));
    return all_kernels_have(session->kernels) || generic || configured;
}

static void tell_changes(struct bf_session *session, size_t count, struct json_object *plan)
{
    static const char *const words[] = {
        [BF_CHANGE_WRITE] = "write",    [BF_CHANGE_CREATE] = "create",
        [BF_CHANGE_APPEND] = "append",  [BF_CHANGE_REMOVE] = "remove",
        [BF_CHANGE_CHECKSUM] = "write", [BF_CHANGE_DONE] = "grow",
    };

    for (size_t i = 0; i < count; i++) {
        const struct bf_change *change = &session->changes[i];
        const char *word = (size_t)change->kind < bf_array_length(words) && words[change->kind]
                               ? words[change->kind]
                               : "write";

        bf_plan_change(plan, word, change->path, change->summary);
    }
}

static void tell_drivers(struct bf_session *session, struct json_object *plan)
{
    for (size_t i = 0; i < json_object_array_length(session->kernels); i++) {
        struct json_object *kernel = json_object_array_get_idx(session->kernels, i);
        bf_auto_free char *from = bf_xasprintf("/lib/modules/%s", bf_plan_text(kernel, "version"));

        if (bf_streq(bf_plan_text(kernel, "virtio"), "missing"))
            bf_plan_driver(plan, "virtio_pci virtio_blk virtio_scsi", from,
                           bf_plan_text(kernel, "initramfs"));
    }
}

static void tell_warnings(struct bf_session *session, struct json_object *plan)
{
    size_t count = session->warnings ? json_object_array_length(session->warnings) : 0;

    for (size_t i = 0; i < count; i++)
        bf_plan_finding(plan, "warn", "guest-warning",
                        json_object_get_string(json_object_array_get_idx(session->warnings, i)),
                        NULL, "the launched guest may need a hand there", "look at it in a drill");
}

/* The fast way refuses the guest: that is an answer, not a failure. */
static int refuse(struct json_object *plan, struct bf_error *err)
{
    if (err->code != BF_E_GUEST_UNSUPPORTED && err->code != BF_E_GUEST_INITRAMFS &&
        err->code != BF_E_CONVERT_FAILED)
        return -1;
    bf_plan_finding(plan, "info", "fast-not-possible", err->message, NULL,
                    "virt-v2v will make the initramfs anew, which takes minutes",
                    "nothing, or see docs/guest-conversion.md for what the fast way needs");
    bf_json_add_string(plan, "method", "v2v");
    bf_error_clear(err);
    return 0;
}

static int decide(struct bf_session *session, const struct bf_inspect_wishes *wishes,
                  struct json_object *plan, struct bf_error *err)
{
    struct json_object *facts = bf_plan_part(plan, "facts");
    size_t needed;
    bool none;

    if (bf_linux_plan_initrd(session, err) < 0 || bf_linux_plan_names(session, err) < 0 ||
        (wishes->serial_console && bf_linux_plan_console(session, err) < 0) ||
        (wishes->grow && bf_linux_plan_grow(session, err) < 0))
        return refuse(plan, err);
    bf_linux_plan_network(session, wishes->macs, wishes->mac_count);
    needed = session->change_count;
    if (bf_linux_plan_generators(session, err) < 0)
        return refuse(plan, err);
    none = stays_so(session, needed, facts) && needed == 0;
    bf_json_add_string(plan, "method", none ? "none" : "fast");
    if (none)
        return 0;
    tell_changes(session, session->change_count, plan);
    tell_drivers(session, plan);
    return 0;
}

int bf_inspect_linux(struct bf_session *session, const struct bf_inspect_wishes *wishes,
                     struct json_object *plan, struct bf_error *err)
{
    struct json_object *facts = bf_plan_part(plan, "facts");

    bf_session_read_product(session);
    bf_json_add_string(bf_plan_part(plan, "os"), "product", session->product);
    session->selinux = bf_session_exists(session, "/etc/selinux/config");
    session->kernels = json_object_new_array();
    bf_inspect_linux_facts(session, plan);
    if (decide(session, wishes, plan, err) < 0)
        return -1;
    json_object_object_add(facts, "kernels", json_object_get(session->kernels));
    tell_warnings(session, plan);
    return 0;
}
