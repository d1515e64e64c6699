/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands: dispatch, help, completion and the check of the man page read it. */
#include "base/cleanup.h"
#include "cli/cli.h"

/* clang-format off */
#define END {NULL, NULL, NULL, false, BF_WORD_NONE, NULL}
#define SWITCH(name, help) {name, NULL, help, false, BF_WORD_NONE, NULL}
#define VALUE(name, value, help) {name, value, help, false, BF_WORD_NONE, NULL}
#define CHOICE(name, choices, help) {name, "WORD", help, false, BF_WORD_NONE, choices}
#define PASSWORD \
    {"password-file", "FILE", "read the password from a file", false, BF_WORD_FILE, NULL}, \
    VALUE("password-fd", "N", "read the password from a descriptor")
#define WAIT SWITCH("wait", "wait for its end and show its progress")
#define NO_WAIT WAIT, SWITCH("no-wait", "do not wait, although this is a terminal")

#define SETTINGS \
    VALUE("interval", "DURATION", "time between rounds, such as 15m; none: by hand only"), \
    {"window", "WINDOW", "when rounds may start, such as 'Mon-Fri 20:00-06:00'; none: always", true, BF_WORD_NONE, NULL}, \
    VALUE("keep-points", "N", "points to keep"), \
    CHOICE("quiesce", "try require off", "freeze the guest's file systems: try, require, off"), \
    VALUE("verify", "HOW", "re-read the target after a round: none, all, N%"), \
    CHOICE("convert", "auto v2v none fast windows", "how a launch is prepared: auto, v2v, fast, none, windows"), \
    {"virtio-win", "PATH", "drivers for Windows guests: a directory or ISO of the service's host; none: the service's own", false, BF_WORD_FILE, NULL}, \
    CHOICE("grow", "on off", "last partition and file system of a Linux guest fill a larger volume: on, off"), \
    CHOICE("serial-console", "on off", "a Linux guest's kernels write to the first serial line, too: on, off"), \
    CHOICE("transfer", "copy adopt", "copy the disks by rounds (default), or adopt the source's own volumes at the cutover"), \
    CHOICE("boot-ladder", "virtio sata-first", "bus of a launch's disks: virtio, or sata-first until it has booted once"), \
    CHOICE("shutdown", "ask off", "source at cutover: ask (fail if refused), off (power off after the timeout)"), \
    VALUE("shutdown-timeout", "DURATION", "how long a shutdown may take"), \
    VALUE("boot-timeout", "DURATION", "how long a launch may take to show that it booted"), \
    CHOICE("boot-evidence", "try require console agent none", "what has to show it: try, require, console, agent, none"), \
    VALUE("boot-pattern", "REGEX", "what its console shows then; none: the usual"), \
    VALUE("drill-every", "N", "drill by itself after each N-th round; 0: never"), \
    VALUE("rate", "SIZE", "bytes per second at most, such as 50M; none: no limit"), \
    CHOICE("on-failure", "restart-source leave-off", "source after a failed cutover: restart-source, leave-off"), \
    VALUE("retries", "N", "rounds retried in a row before giving up"), \
    VALUE("storage", "NAME", "storage of the target for the volumes; none: the platform's default"), \
    {"network", "SOURCE=TARGET", "a network of the source and the one of the target in its place; none: no such pairs", true, BF_WORD_NONE, NULL}, \
    VALUE("default-network", "NAME", "network of the target for all others; none: there is none"), \
    VALUE("isolated-network", "NAME", "network of the target for drills; none: there is none"), \
    VALUE("machine-name", "NAME", "name of the machine on the target; none: the source's"), \
    VALUE("cpus", "N", "its cpus; none: as the source"), \
    VALUE("memory", "SIZE", "its memory, such as 4G; none: as the source"), \
    {"disk", "KEY", "replicate this disk only; none: all", true, BF_WORD_NONE, NULL}, \
    VALUE("flavor", "NAME", "its flavor, on targets that have such; none: by cpus and memory"), \
    {"security-group", "NAME", "a security group of its nics, on targets that have such; none: the default", true, BF_WORD_NONE, NULL}, \
    CHOICE("disk-bus", "virtio sata none", "bus of its disks on the target: virtio, sata; none: virtio")

static const struct bf_cli_option none[] = {END};
static const struct bf_cli_option ends[] = {NO_WAIT, END};
static const struct bf_cli_option platform_add[] = {
    {"type", "TYPE", "libvirt, openstack or vmware", false, BF_WORD_NONE, "libvirt openstack vmware"},
    VALUE("url", "URL", "where it is: a libvirt URI, Keystone's URL, https://HOST of a vCenter"),
    VALUE("user", "NAME", "log in as; the password is asked for unless given"),
    PASSWORD,
    {"option", "KEY=VALUE", "an option of the platform's type", true, BF_WORD_NONE, NULL},
    SWITCH("no-test", "do not look whether it answers"), END};
static const struct bf_cli_option platform_set[] = {
    VALUE("url", "URL", "where it is now; it has to be the same platform"),
    VALUE("user", "NAME", "log in as; the password is asked for unless given"),
    SWITCH("password", "ask for a new password"),
    PASSWORD,
    {"option", "KEY=VALUE", "an option of the platform's type; KEY= takes one back", true, BF_WORD_NONE, NULL},
    SWITCH("yes", "do not ask whether the new address is of the same platform"),
    SWITCH("no-test", "do not look whether it answers"), END};
static const struct bf_cli_option replicate[] = {
    {"source", "PLATFORM", "where the machine is (required)", false, BF_WORD_PLATFORM, NULL},
    {"target", "PLATFORM", "where it shall go (required)", false, BF_WORD_PLATFORM, NULL},
    VALUE("name", "NAME", "name of the replication; else made of the machine's"),
    SWITCH("no-start", "do not begin the first round"),
    {"waive", "FINDING", "go on although this finding blocks", true, BF_WORD_NONE, NULL},
    WAIT, SETTINGS, END};
static const struct bf_cli_option set[] = {SETTINGS, END};
static const struct bf_cli_option list[] = {
    {"state", "WORD", "those in this state only", true, BF_WORD_NONE,
     "new checked blocked seeding idle syncing paused cutover confirm-pending done rolled-back failed"},
    {"platform", "NAME", "those from or to this platform only", false, BF_WORD_PLATFORM, NULL}, END};
static const struct bf_cli_option rounds[] = {VALUE("limit", "N", "the newest N; 100"), END};
static const struct bf_cli_option check_options[] = {
    SWITCH("inspect", "look at the guest now: in the newest point, or before that in a snapshot of the source"),
    {"waive", "FINDING", "go on although this finding blocks, as long as it is found", true, BF_WORD_NONE, NULL}, END};
static const struct bf_cli_option sync_options[] = {
    SWITCH("full", "copy all"), SWITCH("compare", "read all, copy what differs"), WAIT, END};
static const struct bf_cli_option drill[] = {
    VALUE("point", "N", "launch this point; else the newest"),
    VALUE("network", "NAME", "isolated network; else the mapping's"),
    CHOICE("convert", "auto v2v none fast windows", "prepare it so, this time"), NO_WAIT, END};
static const struct bf_cli_option cutover[] = {
    SWITCH("yes", "do not ask"),
    CHOICE("shutdown", "ask off", "source: ask (fail if refused), off (power off after the timeout)"),
    VALUE("point", "N", "launch this point, without a last round"), NO_WAIT, END};
static const struct bf_cli_option confirm[] = {
    SWITCH("keep-replica", "leave volumes and points on the target"),
    SWITCH("force", "the target refuses the hand-over for good: the machine is yours as it is"), NO_WAIT, END};
static const struct bf_cli_option rollback[] = {
    SWITCH("leave-off", "do not start the source"),
    SWITCH("start", "start the source, also one that was off before the cutover"), NO_WAIT, END};
static const struct bf_cli_option remove_options[] = {
    SWITCH("delete-volumes", "delete volumes and points; else they are handed over"),
    SWITCH("force", "also when the source cannot be reached; what is left there stays in the ledger"),
    SWITCH("yes", "do not ask"), NO_WAIT, END};
static const struct bf_cli_option events[] = {
    SWITCH("follow", "go on with what happens"),
    {"replication", "NAME", "of this one only", false, BF_WORD_REPLICATION, NULL},
    VALUE("last", "N", "the last N stored ones; 100, with --follow 20"), END};
static const struct bf_cli_option limit_set[] = {
    {"limit", "LIMIT", "bytes per second and when, such as '50M Mon-Fri 08:00-18:00'; none: no limit", true, BF_WORD_NONE, NULL},
    {"platform", "NAME", "of what is read from and written to this platform", false, BF_WORD_PLATFORM, NULL},
    {"replication", "NAME", "of this replication", false, BF_WORD_REPLICATION, NULL}, END};
static const struct bf_cli_option ledger[] = {SWITCH("all", "also what is gone"), END};
static const struct bf_cli_option reconcile[] = {
    {"platform", "NAME", "look on this one only", false, BF_WORD_PLATFORM, NULL}, END};
static const struct bf_cli_option report[] = {
    {"html", "[FILE]", "as a page, to the file or to standard output", false, BF_WORD_FILE, NULL}, END};

#define R BF_WORD_REPLICATION
#define P BF_WORD_PLATFORM
#define M BF_WORD_MACHINE
#define ONE(argument, word) {argument, NULL}, {word, BF_WORD_NONE}
#define NOTHING {NULL, NULL}, {BF_WORD_NONE, BF_WORD_NONE}

const struct bf_cli_command bf_cli_commands[] = {
    {"platform add", ONE("NAME", BF_WORD_NONE), platform_add, "Register a platform",
     "Then it is tested, unless the answer is wanted as JSON: a certificate that is not trusted is shown. "
     "The password is read from a file, a descriptor or the terminal, never from the command line.", bf_cli_platform_add},
    {"platform list", NOTHING, none, "List the platforms", NULL, bf_cli_platform_list},
    {"platform show", ONE("NAME", P), none, "Show a platform", NULL, bf_cli_platform_show},
    {"platform test", ONE("NAME", P), none, "Log in and report what the platform can do", NULL, bf_cli_platform_test},
    {"platform resources", ONE("NAME", P), none, "List what a mapping can name: storages and networks", NULL, bf_cli_platform_resources},
    {"platform set", ONE("NAME", P), platform_set, "Change how a platform is reached: address, user, password, options",
     "What is not given stays as it is. Jobs that run keep what they began with.", bf_cli_platform_set},
    {"platform remove", ONE("NAME", P), none, "Forget a platform that nothing uses", NULL, bf_cli_platform_remove},
    {"machine list", ONE("PLATFORM", P), none, "List a platform's machines", NULL, bf_cli_machine_list},
    {"machine show", {"PLATFORM", "MACHINE"}, {P, M}, none, "Describe a machine, by name or id", NULL, bf_cli_machine_show},
    {"replicate", ONE("MACHINE", M), replicate, "Make a replication of a machine",
     "The prechecks run at once; unless one blocks, the first round begins.", bf_cli_replicate},
    {"list", NOTHING, list, "List the replications", NULL, bf_cli_list},
    {"show", ONE("NAME", R), none, "Show a replication", NULL, bf_cli_show},
    {"check", ONE("NAME", R), check_options, "Run the prechecks again and show the plan of the conversion",
     "Exit code 5 when a finding blocks.", bf_cli_check},
    {"rounds", ONE("NAME", R), rounds, "List the rounds", NULL, bf_cli_rounds},
    {"points", ONE("NAME", R), none, "List the points", NULL, bf_cli_points},
    {"set", ONE("NAME", R), set, "Change policy or mapping",
     "What is not given stays as it is; an option that may be repeated replaces all that it named before.", bf_cli_set},
    {"sync", ONE("NAME", R), sync_options, "Run a round now", NULL, bf_cli_sync},
    {"pause", ONE("NAME", R), none, "Start no rounds until resume", NULL, bf_cli_pause},
    {"resume", ONE("NAME", R), none, "Let rounds start again", NULL, bf_cli_resume},
    {"cancel", ONE("NAME", R), none, "Cancel what is running", NULL, bf_cli_cancel},
    {"drill", ONE("NAME", R), drill, "Launch a point on an isolated network",
     "Replication goes on meanwhile. On a terminal the command waits for the boot.", bf_cli_drill},
    {"drill-end", ONE("NAME", R), ends, "Discard the drill", NULL, bf_cli_drill_end},
    {"cutover", ONE("NAME", R), cutover, "Stop the source, run the last round and launch",
     "Asks before it begins. If it fails, the launch is undone and the source started again. On a terminal the command waits.", bf_cli_cutover},
    {"confirm", ONE("NAME", R), confirm, "Keep the launched machine and end the replication", NULL, bf_cli_confirm_launch},
    {"rollback", ONE("NAME", R), rollback, "Discard the launch and start the source, if it was on, again", NULL, bf_cli_rollback},
    {"remove", ONE("NAME", R), remove_options, "Remove the replication and what it made", NULL, bf_cli_remove},
    {"limit list", NOTHING, none, "List the rate limits and what is used of them", NULL, bf_cli_limit_list},
    {"limit set", NOTHING, limit_set, "Set rate limits: of the service, a platform or a replication",
     "Takes effect at once. Several limits may be given; the smallest that holds at the time counts.", bf_cli_limit_set},
    {"events", NOTHING, events, "Show what happened", NULL, bf_cli_events},
    {"ledger", NOTHING, ledger, "Show what the service has made on the platforms", NULL, bf_cli_ledger},
    {"reconcile", NOTHING, reconcile, "Look on the platforms for what the ledger does not know", NULL, bf_cli_reconcile},
    {"report", ONE("NAME", R), report, "The replication's report", NULL, bf_cli_report},
    {"status", NOTHING, none, "Show what the service is and does", NULL, bf_cli_status},
};
/* clang-format on */
const size_t bf_cli_command_count = bf_array_length(bf_cli_commands);
