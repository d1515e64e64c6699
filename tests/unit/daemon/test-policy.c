/* SPDX-License-Identifier: Apache-2.0 */
/* Policy and mapping: defaults, every field both ways, every refusal, merging. */
#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/policy.h"
#include "tests/unit/tap.h"

static struct json_object *json_of(const char *text)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct json_object *json = NULL;
    if (bf_json_parse(text, strlen(text), &json, &err) < 0) {
        diag("%s: %s", text, err.message);
        exit(1);
    }
    return json;
}

#define POLICY_DEFAULTS                                                                            \
    "{\"transfer\":\"copy\",\"interval\":\"15m\",\"windows\":null,\"keep_points\":3,\"quiesce\":"  \
    "\"try\","                                                                                     \
    "\"verify\":\"none\",\"convert\":\"auto\",\"virtio_win\":null,\"grow\":false,"                 \
    "\"serial_console\":false,\"boot_ladder\":\"virtio\",\"shutdown_timeout\":\"5m\","             \
    "\"shutdown\":\"ask\",\"boot_timeout\":\"5m\",\"boot_evidence\":\"try\",\"boot_pattern\":"     \
    "null,\"rate\":null,"                                                                          \
    "\"on_failure\":\"restart-source\",\"drill_every\":0,\"retries\":3}"
#define POLICY_OTHER                                                                               \
    "{\"transfer\":\"adopt\",\"interval\":\"90s\",\"windows\":[\"Mon-Fri "                         \
    "20:00-06:00\",\"Sat,Sun\"],\"keep_points\":500,"                                              \
    "\"quiesce\":\"require\",\"verify\":\"10%\",\"convert\":\"v2v\",\"virtio_win\":\"/opt/ü x\"," \
    "\"grow\":true,\"serial_console\":true,\"boot_ladder\":\"sata-first\","                        \
    "\"shutdown_timeout\":\"1s\",\"shutdown\":\"off\",\"boot_timeout\":\"1d\","                    \
    "\"boot_evidence\":\"agent\",\"boot_pattern\":\"^ready( "                                      \
    "now)?$\",\"rate\":\"50M\",\"on_failure\":\"leave-off\","                                      \
    "\"drill_every\":5,\"retries\":0}"
#define MAPPING_DEFAULTS                                                                           \
    "{\"storage\":null,\"networks\":{},\"default_network\":null,\"isolated_network\":null,"        \
    "\"machine_name\":null,\"cpus\":null,\"memory_bytes\":null,\"disks\":null,\"flavor\":null,"    \
    "\"security_groups\":null,\"disk_bus\":null}"
#define MAPPING_OTHER                                                                              \
    "{\"storage\":\"fast pool\",\"networks\":{\"a\":\"x\",\"b net\":\"y\"},"                       \
    "\"default_network\":\"lan\",\"isolated_network\":\"lab\",\"machine_name\":\"Grüße 名\","   \
    "\"cpus\":4,\"memory_bytes\":1073741824,\"disks\":[\"sda\",\"sdc\"],\"flavor\":\"m1\","        \
    "\"security_groups\":[\"web\",\"ssh\"],\"disk_bus\":\"sata\"}"

static void test_policy_texts(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_policy policy;
    bf_policy_init(&policy);
    bf_auto_json *standard = bf_policy_to_json(&policy);
    is_string(bf_json_text(standard), POLICY_DEFAULTS, "the defaults");
    is_u64(policy.interval_s, 900, "interval");
    is_u64(policy.shutdown_timeout_s, 300, "shutdown timeout");

    bf_auto_policy none;
    bf_policy_init(&none);
    is_int(bf_policy_from_json(NULL, &none, &err), 0, "no JSON at all");
    bf_auto_json *none_json = bf_policy_to_json(&none);
    is_string(bf_json_text(none_json), POLICY_DEFAULTS, "gives the defaults");

    bf_auto_policy other;
    bf_policy_init(&other);
    bf_auto_json *json = json_of(POLICY_OTHER);
    bf_policy_from_json(json, &other, &err);
    is_error(&err, BF_OK, "every field set");
    bf_auto_json *written = bf_policy_to_json(&other);
    is_string(bf_json_text(written), POLICY_OTHER, "every field is written as read");
    is_u64(other.interval_s, 90, "interval");
    ok(other.windows.count == 2 && other.windows.items[1].days == 0x60, "windows");
    is_u64(other.keep_points, 500, "keep_points");
    ok(other.transfer == BF_TRANSFER_ADOPT, "transfer");
    ok(other.quiesce == BF_QUIESCE_REQUIRE, "quiesce");
    is_u64(other.verify_percent, 10, "verify");
    ok(other.convert == BF_CONVERT_V2V, "convert");
    is_string(other.virtio_win, "/opt/ü x", "virtio_win");
    ok(other.grow, "grow");
    ok(other.serial_console, "serial_console");
    ok(other.boot_ladder == BF_LADDER_SATA_FIRST, "boot_ladder");
    is_u64(other.shutdown_timeout_s, 1, "shutdown_timeout");
    ok(other.shutdown == BF_SHUTDOWN_OFF, "shutdown");
    is_u64(other.boot_timeout_s, 86400, "boot_timeout");
    is_string(other.boot_pattern, "^ready( now)?$", "boot_pattern");
    is_u64(other.rate_bytes, 50 << 20, "rate");
    ok(other.on_failure == BF_ON_FAILURE_LEAVE_OFF, "on_failure");
    is_u64(other.retries, 0, "retries");
    is_u64(other.drill_every, 5, "drill_every");
    is_int((int)other.evidence, BF_EVIDENCE_AGENT, "boot_evidence");
}

/* Every value of every enum has its word, and reads back. */
static void test_choices(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    for (unsigned i = 0; i < 8; i++) {
        bf_auto_policy policy;
        bf_auto_policy again;
        bf_policy_init(&policy);
        bf_policy_init(&again);
        policy.quiesce = i % BF_QUIESCE_MAX;
        policy.convert = i % BF_CONVERT_MODE_MAX;
        policy.shutdown = i % BF_SHUTDOWN_MAX;
        policy.on_failure = i % BF_ON_FAILURE_MAX;
        bf_auto_json *json = bf_policy_to_json(&policy);
        bf_policy_from_json(json, &again, &err);
        is_error(&err, BF_OK, "choices %u", i);
        ok(again.quiesce == policy.quiesce && again.convert == policy.convert &&
               again.shutdown == policy.shutdown && again.on_failure == policy.on_failure,
           "choices %u read back", i);
    }
    static const char *const verify[] = {"none", "all", "1%", "99%"};
    static const unsigned percent[] = {0, 100, 1, 99};
    for (size_t i = 0; i < bf_array_length(verify); i++) {
        bf_auto_policy policy;
        bf_policy_init(&policy);
        bf_auto_free char *text = bf_xasprintf("{\"verify\":\"%s\"}", verify[i]);
        bf_auto_json *json = json_of(text);
        bf_policy_from_json(json, &policy, &err);
        is_u64(policy.verify_percent, percent[i], "verify %s", verify[i]);
        bf_auto_json *back = bf_policy_to_json(&policy);
        text[strlen(text) - 1] = ',';
        has_string(bf_json_text(back), text + 1, "verify %s is written back", verify[i]);
    }
}

struct refusal {
    const char *json;
    enum bf_error_code code;
    const char *names;
};

static const struct refusal policy_refusals[] = {
    {"[]", BF_E_BAD_JSON, "policy"},
    {"\"x\"", BF_E_BAD_JSON, "policy"},
    {"{\"intervall\":\"15m\"}", BF_E_BAD_JSON, "policy.intervall"},
    {"{\"interval\":900}", BF_E_BAD_JSON, "policy.interval"},
    {"{\"interval\":\"soon\"}", BF_E_BAD_INPUT, "policy.interval"},
    {"{\"interval\":\"0s\"}", BF_E_BAD_INPUT, "policy.interval"},
    {"{\"interval\":\"367d\"}", BF_E_BAD_INPUT, "policy.interval"},
    {"{\"interval\":\"-5m\"}", BF_E_BAD_INPUT, "policy.interval"},
    {"{\"interval\":\"15m\\u0000x\"}", BF_E_BAD_JSON, "policy.interval"},
    {"{\"windows\":\"Mon\"}", BF_E_BAD_JSON, "policy.windows"},
    {"{\"windows\":[\"Mon\",\"Moon\"]}", BF_E_BAD_INPUT, "policy.windows[1]"},
    {"{\"keep_points\":0}", BF_E_BAD_INPUT, "policy.keep_points"},
    {"{\"keep_points\":501}", BF_E_BAD_INPUT, "policy.keep_points"},
    {"{\"keep_points\":-1}", BF_E_BAD_INPUT, "policy.keep_points"},
    {"{\"keep_points\":1.5}", BF_E_BAD_JSON, "policy.keep_points"},
    {"{\"keep_points\":\"3\"}", BF_E_BAD_JSON, "policy.keep_points"},
    {"{\"keep_points\":true}", BF_E_BAD_JSON, "policy.keep_points"},
    {"{\"keep_points\":18446744073709551615}", BF_E_BAD_INPUT, "policy.keep_points"},
    {"{\"quiesce\":\"TRY\"}", BF_E_BAD_INPUT, "policy.quiesce"},
    {"{\"quiesce\":\"\"}", BF_E_BAD_INPUT, "policy.quiesce"},
    {"{\"quiesce\":false}", BF_E_BAD_JSON, "policy.quiesce"},
    {"{\"verify\":\"0%\"}", BF_E_BAD_INPUT, "policy.verify"},
    {"{\"verify\":\"101%\"}", BF_E_BAD_INPUT, "policy.verify"},
    {"{\"verify\":\"%\"}", BF_E_BAD_INPUT, "policy.verify"},
    {"{\"transfer\":\"move\"}", BF_E_BAD_INPUT, "policy.transfer"},
    {"{\"verify\":\"\"}", BF_E_BAD_INPUT, "policy.verify"},
    {"{\"verify\":\"10\"}", BF_E_BAD_INPUT, "policy.verify"},
    {"{\"verify\":10}", BF_E_BAD_JSON, "policy.verify"},
    {"{\"convert\":\"magic\"}", BF_E_BAD_INPUT, "policy.convert"},
    {"{\"virtio_win\":\"drivers\"}", BF_E_BAD_INPUT, "policy.virtio_win"},
    {"{\"virtio_win\":\"\"}", BF_E_BAD_INPUT, "policy.virtio_win"},
    {"{\"virtio_win\":\"/a\\nb\"}", BF_E_BAD_INPUT, "policy.virtio_win"},
    {"{\"grow\":\"on\"}", BF_E_BAD_JSON, "policy.grow"},
    {"{\"serial_console\":1}", BF_E_BAD_JSON, "policy.serial_console"},
    {"{\"boot_ladder\":\"sata\"}", BF_E_BAD_INPUT, "policy.boot_ladder"},
    {"{\"shutdown_timeout\":\"25h\"}", BF_E_BAD_INPUT, "policy.shutdown_timeout"},
    {"{\"shutdown\":\"kill\"}", BF_E_BAD_INPUT, "policy.shutdown"},
    {"{\"boot_timeout\":\"0\"}", BF_E_BAD_INPUT, "policy.boot_timeout"},
    {"{\"boot_pattern\":\"(\"}", BF_E_BAD_INPUT, "policy.boot_pattern"},
    {"{\"boot_pattern\":\"\"}", BF_E_BAD_INPUT, "policy.boot_pattern"},
    {"{\"boot_pattern\":\"x*\"}", BF_E_BAD_INPUT, "policy.boot_pattern"},
    {"{\"boot_pattern\":\"(a)\\\\1\"}", BF_E_BAD_INPUT, "policy.boot_pattern"},
    {"{\"boot_pattern\":\"((a{100}){100}){100}\"}", BF_E_BAD_INPUT, "policy.boot_pattern"},
    {"{\"boot_pattern\":\"a{32767}\"}", BF_E_BAD_INPUT, "policy.boot_pattern"},
    {"{\"rate\":\"50X\"}", BF_E_BAD_INPUT, "policy.rate"},
    {"{\"rate\":\"1\"}", BF_E_BAD_INPUT, "policy.rate"},
    {"{\"rate\":50}", BF_E_BAD_JSON, "policy.rate"},
    {"{\"on_failure\":\"panic\"}", BF_E_BAD_INPUT, "policy.on_failure"},
    {"{\"boot_evidence\":\"any\"}", BF_E_BAD_INPUT, "policy.boot_evidence"},
    {"{\"drill_every\":10001}", BF_E_BAD_INPUT, "policy.drill_every"},
    {"{\"retries\":101}", BF_E_BAD_INPUT, "policy.retries"},
};

static const struct refusal mapping_refusals[] = {
    {"{\"storages\":\"x\"}", BF_E_BAD_JSON, "mapping.storages"},
    {"{\"storage\":\"\"}", BF_E_BAD_INPUT, "mapping.storage"},
    {"{\"storage\":\"a/b\"}", BF_E_BAD_INPUT, "mapping.storage"},
    {"{\"storage\":5}", BF_E_BAD_JSON, "mapping.storage"},
    {"{\"networks\":[\"a\"]}", BF_E_BAD_JSON, "mapping.networks"},
    {"{\"networks\":{\"a\":\"b\",\"c\":1}}", BF_E_BAD_JSON, "mapping.networks.c"},
    {"{\"networks\":{\"a\":null}}", BF_E_BAD_JSON, "mapping.networks.a"},
    {"{\"networks\":{\"a\":\"\"}}", BF_E_BAD_INPUT, "mapping.networks.a"},
    {"{\"networks\":{\"\":\"a\"}}", BF_E_BAD_INPUT, "mapping.networks"},
    {"{\"default_network\":\"a\\u0001\"}", BF_E_BAD_INPUT, "mapping.default_network"},
    {"{\"machine_name\":\"a/b\"}", BF_E_BAD_INPUT, "mapping.machine_name"},
    {"{\"cpus\":0}", BF_E_BAD_INPUT, "mapping.cpus"},
    {"{\"cpus\":1025}", BF_E_BAD_INPUT, "mapping.cpus"},
    {"{\"cpus\":\"2\"}", BF_E_BAD_JSON, "mapping.cpus"},
    {"{\"memory_bytes\":1024}", BF_E_BAD_INPUT, "mapping.memory_bytes"},
    {"{\"disks\":[]}", BF_E_BAD_INPUT, "mapping.disks"},
    {"{\"disks\":\"sda\"}", BF_E_BAD_JSON, "mapping.disks"},
    {"{\"disks\":[\"sda\",7]}", BF_E_BAD_JSON, "mapping.disks[1]"},
    {"{\"disks\":[\"sda\",\"sdb\",\"sda\"]}", BF_E_BAD_INPUT, "mapping.disks[2]"},
    {"{\"disk_bus\":\"ide\"}", BF_E_BAD_INPUT, "mapping.disk_bus"},
};

static void test_refusals(void)
{
    for (size_t i = 0; i < bf_array_length(policy_refusals); i++) {
        const struct refusal *r = &policy_refusals[i];
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_json *json = json_of(r->json);
        bf_auto_policy policy;
        bf_policy_init(&policy);
        policy.retries = 77;
        bf_policy_from_json(json, &policy, &err);
        has_string(err.message, r->names, "%s: the error names the field", r->json);
        is_error(&err, r->code, "%s", r->json);
        bf_policy_merge(&policy, json, &err);
        is_error(&err, r->code, "%s as a change", r->json);
        is_u64(policy.retries, 77, "%s: nothing is changed", r->json);
    }
    for (size_t i = 0; i < bf_array_length(mapping_refusals); i++) {
        const struct refusal *r = &mapping_refusals[i];
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_json *json = json_of(r->json);
        bf_auto_mapping mapping;
        bf_mapping_init(&mapping);
        mapping.cpus = 77;
        bf_mapping_from_json(json, &mapping, &err);
        has_string(err.message, r->names, "%s: the error names the field", r->json);
        is_error(&err, r->code, "%s", r->json);
        is_u64(mapping.cpus, 77, "%s: nothing is changed", r->json);
    }
}

static void test_long(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_mapping mapping;
    bf_mapping_init(&mapping);
    bf_auto_json *json = json_object_new_object();
    bf_auto_free char *name = bf_xcalloc(1, 257);
    memset(name, 'n', 255);
    bf_json_add_string(json, "machine_name", name);
    is_int(bf_mapping_from_json(json, &mapping, &err), 0, "a name of 255 bytes");
    bf_mapping_done(&mapping);
    name[255] = 'n';
    bf_json_add_string(json, "machine_name", name);
    bf_mapping_from_json(json, &mapping, &err);
    is_error(&err, BF_E_BAD_INPUT, "a name of 256 bytes");

    bf_auto_json *many = json_of("{\"networks\":{}}");
    struct json_object *networks = json_object_object_get(many, "networks");
    for (unsigned i = 0; i < 257; i++) {
        bf_auto_free char *key = bf_xasprintf("n%u", i);
        bf_json_add_string(networks, key, "x");
    }
    bf_mapping_from_json(many, &mapping, &err);
    is_error(&err, BF_E_BAD_INPUT, "257 networks");
    json_object_object_del(networks, "n0");
    is_int(bf_mapping_from_json(many, &mapping, &err), 0, "256 networks");
    is_u64(mapping.network_count, 256, "are all there");
}

static void test_mapping(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_mapping mapping;
    bf_mapping_init(&mapping);
    bf_auto_json *standard = bf_mapping_to_json(&mapping);
    is_string(bf_json_text(standard), MAPPING_DEFAULTS, "the empty mapping");
    is_string(bf_mapping_network(&mapping, "a"), NULL, "names no network");
    ok(bf_mapping_has_disk(&mapping, "sda"), "and has every disk");

    bf_auto_json *json = json_of(MAPPING_OTHER);
    bf_mapping_from_json(json, &mapping, &err);
    is_error(&err, BF_OK, "every field set");
    bf_auto_json *written = bf_mapping_to_json(&mapping);
    is_string(bf_json_text(written), MAPPING_OTHER, "every field is written as read");
    is_string(mapping.storage, "fast pool", "storage");
    is_string(mapping.default_network, "lan", "default_network");
    is_string(mapping.isolated_network, "lab", "isolated_network");
    is_string(mapping.machine_name, "Grüße 名", "machine_name");
    is_u64(mapping.cpus, 4, "cpus");
    is_u64(mapping.memory_bytes, 1 << 30, "memory_bytes");
    is_string(mapping.disk_bus, "sata", "disk_bus");
    is_string(bf_mapping_network(&mapping, "b net"), "y", "a network named");
    is_string(bf_mapping_network(&mapping, "c"), "lan", "a network not named");
    is_string(bf_mapping_network(&mapping, NULL), "lan", "a network not known");
    ok(bf_mapping_has_disk(&mapping, "sdc"), "a disk named");
    ok(!bf_mapping_has_disk(&mapping, "sdb"), "a disk not named");

    bf_auto_json *patch = json_of("{\"networks\":{\"z\":\"q\"},\"disks\":null,\"cpus\":null}");
    bf_mapping_merge(&mapping, patch, &err);
    is_error(&err, BF_OK, "a change");
    is_string(bf_mapping_network(&mapping, "a"), "lan", "a field given replaces the whole field");
    is_string(bf_mapping_network(&mapping, "z"), "q", "by the new one");
    ok(bf_mapping_has_disk(&mapping, "sdb"), "null takes the disks away");
    is_u64(mapping.cpus, 0, "and the cpus");
    is_string(mapping.storage, "fast pool", "what is not given stays");
}

static void test_merge(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_policy policy;
    bf_policy_init(&policy);
    bf_auto_json *json = json_of(POLICY_OTHER);
    bf_policy_from_json(json, &policy, &err);

    bf_auto_json *patch = json_of("{\"interval\":null,\"keep_points\":null,\"rate\":\"1G\","
                                  "\"windows\":[]}");
    bf_policy_merge(&policy, patch, &err);
    is_error(&err, BF_OK, "a change");
    is_u64(policy.interval_s, 0, "null for what can be none is none");
    is_u64(policy.keep_points, 3, "null for what cannot is the default");
    is_u64(policy.rate_bytes, 1 << 30, "a new value");
    is_u64(policy.windows.count, 0, "an empty list is none");
    is_string(policy.boot_pattern, "^ready( now)?$", "what is not given stays");
    bf_auto_json *back = bf_policy_to_json(&policy);
    has_string(bf_json_text(back), "\"interval\":null", "none is written as null");

    /* Half good: nothing of it is taken. */
    bf_auto_json *half = json_of("{\"retries\":9,\"rate\":\"x\"}");
    bf_policy_merge(&policy, half, &err);
    is_error(&err, BF_E_BAD_INPUT, "a change with one bad field");
    is_u64(policy.retries, 0, "changes nothing");
    is_int(bf_policy_merge(&policy, NULL, &err), 0, "no change at all");
}

static void test_boot(void)
{
    static const struct {
        const char *pattern;
        const char *console;
        bool found;
    } cases[] = {
        {NULL, "Debian GNU/Linux 12 web ttyS0\n\nweb login: ", true},
        {NULL, "x\nBOOTMARK 7\n", true},
        {NULL, "no BOOTMARK at the start of a line", false},
        {NULL, "[  OK  ] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m - Multi-User", true},
        {NULL, "[  OK  ] Reached target Multi-User System.", true},
        {NULL, "[  OK  ] Reached target Local File Systems.", false},
        {NULL, "[  OK  ] Reached target initrd-root-device.target", false},
        {NULL, "", false},
        {NULL, NULL, false},
        {"^ready$", "not ready\nready\n", true},
        {"^ready$", "not ready\n", false},
        {"[{]{2}", "a {{", true},
    };
    for (size_t i = 0; i < bf_array_length(cases); i++)
        is_int(bf_boot_pattern_matches(cases[i].pattern, cases[i].console), cases[i].found,
               "console %zu", i);
    bf_auto_free char *line = bf_boot_pattern_line(NULL, "a\r\nBOOTMARK 1\nBOOTMARK \x1b[1m2\n b");
    is_string(line, "BOOTMARK  [1m2", "the last line that shows it, made safe to show");
    bf_auto_free char *no_line = bf_boot_pattern_line("a\nb", "a\nb");
    ok(!no_line, "no single line shows a pattern of two");
    static const char *const good[] = {"a{1000}", "a{10}b{10}", "[{]a{500}",
                                       "\\{a",    "[]{9999}]x", "login:|ready"};
    for (size_t i = 0; i < bf_array_length(good); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        bf_boot_pattern_check(good[i], "p", &err);
        is_error(&err, BF_OK, "pattern %s", good[i]);
    }
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *longest = bf_xcalloc(1, 258);
    memset(longest, 'a', 257);
    bf_boot_pattern_check(longest, "p", &err);
    is_error(&err, BF_E_BAD_INPUT, "a pattern of 257 bytes");
    bf_boot_pattern_check("trailing\\", "p", &err);
    is_error(&err, BF_E_BAD_INPUT, "a pattern that ends in a backslash");
    bf_boot_pattern_check("[a", "p", &err);
    is_error(&err, BF_E_BAD_INPUT, "an open bracket");
}

int main(void)
{
    test_policy_texts();
    test_choices();
    test_refusals();
    test_long();
    test_mapping();
    test_merge();
    test_boot();
    return done();
}
