/* SPDX-License-Identifier: Apache-2.0 */
/* Policy and mapping: their tables of members. */
#include "daemon/policy.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/members.h"

#define MINUTE_S 60
#define DAY_S 86400
#define MIB (UINT64_C(1) << 20)
#define TIB (UINT64_C(1) << 40)

/* clang-format off */
static const char *const transfer_words[] = {
    [BF_TRANSFER_COPY] = "copy", [BF_TRANSFER_ADOPT] = "adopt", [BF_TRANSFER_MAX] = NULL};
static const char *const quiesce_words[] = {
    [BF_QUIESCE_TRY] = "try", [BF_QUIESCE_REQUIRE] = "require", [BF_QUIESCE_OFF] = "off",
    [BF_QUIESCE_MAX] = NULL};
static const char *const convert_words[] = {
    [BF_CONVERT_AUTO] = "auto", [BF_CONVERT_FAST] = "fast", [BF_CONVERT_V2V] = "v2v",
    [BF_CONVERT_NONE] = "none", [BF_CONVERT_WINDOWS] = "windows", [BF_CONVERT_MODE_MAX] = NULL};
static const char *const shutdown_words[] = {
    [BF_SHUTDOWN_ASK] = "ask", [BF_SHUTDOWN_OFF] = "off", [BF_SHUTDOWN_MAX] = NULL};
static const char *const on_failure_words[] = {
    [BF_ON_FAILURE_RESTART_SOURCE] = "restart-source", [BF_ON_FAILURE_LEAVE_OFF] = "leave-off",
    [BF_ON_FAILURE_MAX] = NULL};
static const char *const evidence_words[] = {
    [BF_EVIDENCE_TRY] = "try", [BF_EVIDENCE_REQUIRE] = "require",
    [BF_EVIDENCE_CONSOLE] = "console", [BF_EVIDENCE_AGENT] = "agent",
    [BF_EVIDENCE_NONE] = "none", [BF_EVIDENCE_MAX] = NULL};
static const char *const ladder_words[] = {
    [BF_LADDER_VIRTIO] = "virtio", [BF_LADDER_SATA_FIRST] = "sata-first", [BF_LADDER_MAX] = NULL};
static const char *const disk_bus_words[] = {"virtio", "sata", NULL};
/* clang-format on */

_Static_assert(sizeof(enum bf_quiesce) == sizeof(unsigned) &&
                   sizeof(enum bf_convert_mode) == sizeof(unsigned) &&
                   sizeof(enum bf_shutdown) == sizeof(unsigned) &&
                   sizeof(enum bf_evidence) == sizeof(unsigned) &&
                   sizeof(enum bf_transfer) == sizeof(unsigned) &&
                   sizeof(enum bf_ladder) == sizeof(unsigned) &&
                   sizeof(enum bf_on_failure) == sizeof(unsigned),
               "choices are read and written as unsigned");

/* clang-format off */
#define AT(member) .offset = offsetof(struct bf_policy, member)
static const struct bf_member policy_members[] = {
    {"transfer", BF_MEMBER_CHOICE, false, AT(transfer), .words = transfer_words, .standard = BF_TRANSFER_COPY},
    {"interval", BF_MEMBER_DURATION, true, AT(interval_s), .min = 1, .max = 366 * DAY_S, .standard = 15 * MINUTE_S},
    {"windows", BF_MEMBER_WINDOWS, true, AT(windows)},
    {"keep_points", BF_MEMBER_COUNT, false, AT(keep_points), .min = 1, .max = 500, .standard = 3},
    {"quiesce", BF_MEMBER_CHOICE, false, AT(quiesce), .words = quiesce_words, .standard = BF_QUIESCE_TRY},
    {"verify", BF_MEMBER_PERCENT, false, AT(verify_percent)},
    {"convert", BF_MEMBER_CHOICE, false, AT(convert), .words = convert_words, .standard = BF_CONVERT_AUTO},
    {"virtio_win", BF_MEMBER_PATH, true, AT(virtio_win)},
    {"grow", BF_MEMBER_SWITCH, false, AT(grow)},
    {"serial_console", BF_MEMBER_SWITCH, false, AT(serial_console)},
    {"boot_ladder", BF_MEMBER_CHOICE, false, AT(boot_ladder), .words = ladder_words, .standard = BF_LADDER_VIRTIO},
    {"shutdown_timeout", BF_MEMBER_DURATION, false, AT(shutdown_timeout_s), .min = 1, .max = DAY_S, .standard = 5 * MINUTE_S},
    {"shutdown", BF_MEMBER_CHOICE, false, AT(shutdown), .words = shutdown_words, .standard = BF_SHUTDOWN_ASK},
    {"boot_timeout", BF_MEMBER_DURATION, false, AT(boot_timeout_s), .min = 1, .max = DAY_S, .standard = 5 * MINUTE_S},
    {"boot_evidence", BF_MEMBER_CHOICE, false, AT(evidence), .words = evidence_words, .standard = BF_EVIDENCE_TRY},
    {"boot_pattern", BF_MEMBER_PATTERN, true, AT(boot_pattern)},
    {"rate", BF_MEMBER_RATE, true, AT(rate_bytes), .min = 1024, .max = TIB},
    {"on_failure", BF_MEMBER_CHOICE, false, AT(on_failure), .words = on_failure_words, .standard = BF_ON_FAILURE_RESTART_SOURCE},
    {"drill_every", BF_MEMBER_COUNT, false, AT(drill_every), .min = 0, .max = 10000},
    {"retries", BF_MEMBER_COUNT, false, AT(retries), .min = 0, .max = 100, .standard = 3},
};
#undef AT
#define AT(member) .offset = offsetof(struct bf_mapping, member)
static const struct bf_member mapping_members[] = {
    {"storage", BF_MEMBER_NAME, true, AT(storage)},
    {"networks", BF_MEMBER_NETWORKS, true, AT(networks), .count_offset = offsetof(struct bf_mapping, network_count)},
    {"default_network", BF_MEMBER_NAME, true, AT(default_network)},
    {"isolated_network", BF_MEMBER_NAME, true, AT(isolated_network)},
    {"machine_name", BF_MEMBER_NAME, true, AT(machine_name)},
    {"cpus", BF_MEMBER_COUNT, true, AT(cpus), .min = 1, .max = 1024},
    {"memory_bytes", BF_MEMBER_COUNT, true, AT(memory_bytes), .min = 16 * MIB, .max = 64 * TIB},
    {"disks", BF_MEMBER_KEYS, true, AT(disks)},
    {"flavor", BF_MEMBER_NAME, true, AT(flavor)},
    {"security_groups", BF_MEMBER_KEYS, true, AT(security_groups)},
    {"disk_bus", BF_MEMBER_WORD, true, AT(disk_bus), .words = disk_bus_words},
};
#undef AT
/* clang-format on */

static const struct bf_member_table policy_table = {
    "policy", policy_members, bf_array_length(policy_members), sizeof(struct bf_policy)};
static const struct bf_member_table mapping_table = {
    "mapping", mapping_members, bf_array_length(mapping_members), sizeof(struct bf_mapping)};

void bf_policy_init(struct bf_policy *policy)
{
    bf_members_init(&policy_table, policy);
}

void bf_policy_done(struct bf_policy *policy)
{
    bf_members_done(&policy_table, policy);
}

int bf_policy_from_json(struct json_object *json, struct bf_policy *ret_policy,
                        struct bf_error *err)
{
    return bf_members_read(&policy_table, json, ret_policy, err);
}

int bf_policy_merge(struct bf_policy *policy, struct json_object *patch, struct bf_error *err)
{
    return bf_members_merge(&policy_table, policy, patch, err);
}

struct json_object *bf_policy_to_json(const struct bf_policy *policy)
{
    return bf_members_write(&policy_table, policy);
}

void bf_mapping_init(struct bf_mapping *mapping)
{
    bf_members_init(&mapping_table, mapping);
}

void bf_mapping_done(struct bf_mapping *mapping)
{
    bf_members_done(&mapping_table, mapping);
}

int bf_mapping_from_json(struct json_object *json, struct bf_mapping *ret_mapping,
                         struct bf_error *err)
{
    return bf_members_read(&mapping_table, json, ret_mapping, err);
}

int bf_mapping_merge(struct bf_mapping *mapping, struct json_object *patch, struct bf_error *err)
{
    return bf_members_merge(&mapping_table, mapping, patch, err);
}

struct json_object *bf_mapping_to_json(const struct bf_mapping *mapping)
{
    return bf_members_write(&mapping_table, mapping);
}

const char *bf_mapping_network(const struct bf_mapping *mapping, const char *source)
{
    for (size_t i = 0; source && i < mapping->network_count; i++)
        if (bf_streq(mapping->networks[i].source, source))
            return mapping->networks[i].target;
    return mapping->default_network;
}

bool bf_mapping_has_disk(const struct bf_mapping *mapping, const char *disk_key)
{
    if (!mapping->disks)
        return true;
    for (char *const *at = mapping->disks; *at; at++)
        if (bf_streq(*at, disk_key))
            return true;
    return false;
}
