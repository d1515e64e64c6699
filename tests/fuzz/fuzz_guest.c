/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest's disks hold and the host reads: the first byte says as what. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "guest/edit.h"
#include "guest/firstboot/steps.h"
#include "guest/hive_file.h"
#include "guest/interfaces.h"
#include "guest/modules.h"
#include "guest/names.h"
#include "guest/ntfs.h"
#include "guest/plan.h"
#include "guest/tree.h"
#include "guest/v2v_log.h"
#include "tests/fuzz/fuzz.h"

#define FORMS ((int)BF_INTERFACES_LINK + 1)
#define PLAN_MAX ((size_t)2 << 20)

static char first_disk[] = "/dev/sda";
static char *const one_disk[] = {first_disk, NULL};

/* Each name once, each card at most one of them. */
static void interfaces(const char *text, enum bf_interfaces_form form)
{
    static const char *const macs[] = {"52:54:00:aa:bb:01", "52-54-00-AA-BB-02"};
    bf_cleanup(bf_interfaces_done) struct bf_interfaces pinned = {0};
    bf_cleanup(bf_interfaces_done) struct bf_interfaces kept = {0};
    bf_cleanup(bf_interfaces_done) struct bf_interfaces assigned = {0};

    bf_interfaces_collect(text, form, &pinned, &kept);
    bf_interfaces_match_hardware(text, form);
    bf_interfaces_assign(&pinned, &kept, macs, 2, &assigned);
    FUZZ_CHECK(assigned.count <= 2);
    for (size_t i = 0; i < assigned.count; i++) {
        /* They become parts of paths and of udev's rules. */
        FUZZ_CHECK(!strpbrk(assigned.names[i], "/.\"\n ") && strlen(assigned.names[i]) <= 15);
        FUZZ_CHECK(assigned.macs[i] && strlen(assigned.macs[i]) == 17);
    }
}

static char *uuid_of(const char *device, void *user)
{
    bf_auto_free char *name = bf_names_device(device, one_disk);

    (void)user;
    return name && strlen(name) % 2 ? bf_xstrdup("1-2") : NULL;
}

/* Edited once, nothing is left to be edited. */
static void edits(const char *text)
{
    static const char *const words[] = {"virtio_pci", "virtio_blk", NULL};

    for (int number = BF_EDIT_FIELD_1; number <= BF_EDIT_BOOT_LINE; number++) {
        enum bf_edit_place place = (enum bf_edit_place)number;
        bool unresolved = false;
        bf_auto_free char *once = bf_edit_device_names(text, place, uuid_of, NULL, &unresolved);
        bf_auto_free char *twice =
            once ? bf_edit_device_names(once, place, uuid_of, NULL, &unresolved) : NULL;

        FUZZ_CHECK(!twice);
    }
    {
        bf_auto_free char *lines = bf_edit_add_lines(text, words);
        bf_auto_free char *more = lines ? bf_edit_add_lines(lines, words) : NULL;
        bf_auto_free char *set = bf_edit_add_words(text, "MODULES", words);
        bf_auto_free char *again = set ? bf_edit_add_words(set, "MODULES", words) : NULL;
        bf_auto_free char *console = bf_edit_serial_console(text);
        bf_auto_free char *second = console ? bf_edit_serial_console(console) : NULL;
        bf_auto_free char *block = bf_edit_environment_fit(text);

        FUZZ_CHECK(!more && !again && !second);
        FUZZ_CHECK(!block || strlen(block) == BF_EDIT_ENVIRONMENT);
    }
}

static void names(const char *text)
{
    bf_cleanup(bf_fstab_done) struct bf_fstab table = {0};

    bf_fstab_parse(text, &table);
    for (size_t i = 0; i < table.count; i++) {
        bf_auto_free char *mountable = bf_fstab_mountable(&table.entries[i], "/dev/sda1");

        free(bf_names_device(table.entries[i].device, one_disk));
        bf_names_tag(table.entries[i].device, "UUID", "1-2");
        FUZZ_CHECK(mountable != NULL);
    }
}

static void modules(const char *text)
{
    bf_cleanup(bf_module_list_done) struct bf_module_list list = {0};

    bf_module_is_builtin(text, "virtio_pci");
    bf_module_list_add(&list, text, "virtio_pci");
    bf_module_list_add(&list, text, "virtio_blk");
    for (size_t i = 0; i < list.count; i++) {
        bf_auto_free char *name = bf_module_file_name(list.paths[i]);

        FUZZ_CHECK(!strchr(name, '/') && !strchr(name, '\n'));
    }
}

static void volume(const char *text, size_t size)
{
    unsigned char sector[BF_NTFS_RECORD_MAX] = {0};
    bf_auto_error err = BF_ERROR_INIT;
    uint64_t offset;
    size_t record = 0;
    bool dirty;

    bf_hive_file_check("SYSTEM", text, size, &err);
    memcpy(sector, text, size < sizeof(sector) ? size : sizeof(sector));
    if (bf_ntfs_volume_record(sector, &offset, &record))
        FUZZ_CHECK(record >= 512 && record <= BF_NTFS_RECORD_MAX);
    bf_ntfs_is_dirty(sector, size < sizeof(sector) ? size : sizeof(sector), &dirty);
}

static void steps(const char *text)
{
    struct bf_step_counts counts = {0};
    struct bf_step step;
    char command[4096];

    bf_step_head(text);
    while (bf_step_next(&text, &step))
        if (bf_step_netsh(&step, 1, &counts, command, sizeof(command)))
            FUZZ_CHECK(!strpbrk(command, "&|<>^\n"));
}

static void answers(const char *text, size_t size)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_v2v_log log = {0};
    bf_auto_json *answer = NULL;
    bf_auto_json *plan = NULL;

    bf_v2v_log_parse(text, size, &log);
    bf_v2v_verdict(&log, 0, text, &err);
    bf_error_clear(&err);
    if (bf_json_parse(text, size, &answer, &err) < 0 || bf_plan_take(answer, &plan, &err) < 0)
        return;
    FUZZ_CHECK(strlen(bf_json_text(plan)) <= PLAN_MAX);
    FUZZ_CHECK(bf_utf8_valid(bf_json_text(plan), strlen(bf_json_text(plan))));
}

static void tree(const char *text, size_t size)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_tree files = {0};
    int fd = memfd_create("tree", MFD_CLOEXEC);
    bool outside;

    FUZZ_CHECK(fd >= 0 && write(fd, text, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    if (bf_tree_add_archive(&files, fd, "/etc", NULL, &err) == 0) {
        char **found = bf_tree_glob(&files, "/etc/*");

        for (size_t i = 0; found[i]; i++) {
            bf_tree_find(&files, found[i], &outside);
            free(found[i]);
        }
        free(found);
    }
    bf_tree_done(&files);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_auto_free char *text = bf_xcalloc(1, size + 1);
    int kind = size ? *data % (FORMS + 7) : 0;

    if (size == 0)
        return 0;
    size--;
    memcpy(text, data + 1, size);
    switch (kind - FORMS) {
    case 0:
        edits(text);
        break;
    case 1:
        names(text);
        break;
    case 2:
        modules(text);
        break;
    case 3:
        volume(text, size);
        break;
    case 4:
        steps(text);
        break;
    case 5:
        answers(text, size);
        break;
    case 6:
        tree(text, size);
        break;
    default:
        interfaces(text, (enum bf_interfaces_form)kind);
        break;
    }
    return 0;
}
