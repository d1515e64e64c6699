/* SPDX-License-Identifier: Apache-2.0 */
/* Every row of the store: what is written is read back, field by field, with NULLs and with text
 * that is hard on quoting.  The fields are listed here once more on purpose: a column table that
 * mixes two members up would agree with itself. */
#include "tests/unit/store/scratch.h"

/* T: text, O: text that may be NULL, N: small number, U: 63 bits, I: signed, B: bool. */
#define PLATFORM(T, O, N, U, I, B)                                                                 \
    T(id) T(name) T(type) T(url) O(user) O(sealed_password) O(options) I(created_us)
#define REPLICATION(T, O, N, U, I, B)                                                              \
    T(id)                                                                                          \
    T(name)                                                                                        \
    T(machine_id)                                                                                  \
    O(machine_name)                                                                                \
    O(machine)                                                                                     \
    T(mapping)                                                                                     \
    T(policy)                                                                                      \
    T(state)                                                                                       \
    O(error)                                                                                       \
    O(findings) I(checked_us) O(baseline) I(next_round_us) N(failures) I(created_us) I(changed_us)
#define VOLUME(T, O, N, U, I, B) T(disk_key) O(ledger_id) O(ref) U(size_bytes) B(seeded)
#define ROUND(T, O, N, U, I, B)                                                                    \
    T(id)                                                                                          \
    U(number)                                                                                      \
    O(kind)                                                                                        \
    O(trigger)                                                                                     \
    T(state)                                                                                       \
    O(note)                                                                                        \
    B(quiesced)                                                                                    \
    I(snapshot_us)                                                                                 \
    I(started_us) I(ended_us) U(to_send_bytes) U(sent_bytes) U(zero_bytes) O(error)
#define ROUND_DISK(T, O, N, U, I, B)                                                               \
    T(disk_key)                                                                                    \
    O(kind)                                                                                        \
    O(note)                                                                                        \
    U(size_bytes)                                                                                  \
    U(to_send_bytes) U(sent_bytes) U(zero_bytes) U(read_bytes) U(copy_ms) O(digest) O(verified)
#define POINT(T, O, N, U, I, B) T(id) U(number) I(taken_us) B(quiesced) T(volumes) B(removing)
#define LAUNCH(T, O, N, U, I, B)                                                                   \
    T(id)                                                                                          \
    O(point_id)                                                                                    \
    U(point_number)                                                                                \
    T(kind)                                                                                        \
    T(state)                                                                                       \
    O(machine_name)                                                                                \
    O(machine_ref)                                                                                 \
    O(clones)                                                                                      \
    O(conversion) O(console) O(evidence) O(timing) O(error) I(started_us) I(booted_us) I(ended_us)
#define PLAN(T, O, N, U, I, B) T(plan) U(point_number) I(made_us)
#define JOB(T, O, N, U, I, B)                                                                      \
    T(id) T(kind) T(state) N(step) O(step_name) O(context) O(error) I(started_us) I(ended_us)
#define LEDGER(T, O, N, U, I, B)                                                                   \
    T(id) T(platform_id) T(kind) T(state) O(name) O(ref) O(owner) I(created_us) I(changed_us)
#define EVENT(T, O, N, U, I, B) I(at_us) O(replication) T(level) T(type) T(message) O(data)

static unsigned serial; /* makes every value another one */
static bool with_nulls;

static char *new_text(const char *field)
{
    return bf_xasprintf("%s %u: Grüße, 名前, 'a' \"b\" \\ %%s ; -- \n\t😀", field, ++serial);
}

#define FILL_T(f) row->f = new_text(#f);
#define FILL_O(f) row->f = with_nulls ? NULL : new_text(#f);
#define FILL_N(f) row->f = 4000000000u + ++serial;
#define FILL_U(f) row->f = (uint64_t)INT64_MAX - ++serial;
#define FILL_I(f) row->f = 1763646741123456 + ++serial;
#define FILL_B(f) row->f = (++serial & 1) != 0;
#define SAME_T(f) same &= differ(#f, bf_streq(want->f, got->f) && got->f);
#define SAME_O(f) same &= differ(#f, bf_streq(want->f, got->f) && !got->f == with_nulls);
#define SAME_N(f) same &= differ(#f, want->f == got->f);
#define SAME_U SAME_N
#define SAME_I SAME_N
#define SAME_B SAME_N

static bool differ(const char *field, bool equal)
{
    if (!equal)
        diag("field %s differs", field);
    return equal;
}

#define DEFINE(noun, FIELDS)                                                                       \
    static void fill_##noun(struct bf_##noun##_row *row)                                           \
    {                                                                                              \
        FIELDS(FILL_T, FILL_O, FILL_N, FILL_U, FILL_I, FILL_B)                                     \
    }                                                                                              \
    static void same_##noun(const struct bf_##noun##_row *want, const struct bf_##noun##_row *got, \
                            const char *what)                                                      \
    {                                                                                              \
        bool same = true;                                                                          \
        FIELDS(SAME_T, SAME_O, SAME_N, SAME_U, SAME_I, SAME_B)                                     \
        ok(same, "%s: %s reads back as written", #noun, what);                                     \
    }                                                                                              \
    static void free_##noun(void *rows, size_t count)                                              \
    {                                                                                              \
        bf_rows_free(rows, count, sizeof(struct bf_##noun##_row),                                  \
                     (bf_row_done_fn *)bf_##noun##_row_done);                                      \
    }
DEFINE(platform, PLATFORM)
DEFINE(replication, REPLICATION)
DEFINE(volume, VOLUME)
DEFINE(round, ROUND)
DEFINE(round_disk, ROUND_DISK)
DEFINE(point, POINT)
DEFINE(launch, LAUNCH)
DEFINE(plan, PLAN)
DEFINE(job, JOB)
DEFINE(ledger, LEDGER)
DEFINE(event, EVENT)

#define ROW(noun)                                                                                  \
    __attribute__((cleanup(bf_##noun##_row_done))) struct bf_##noun##_row noun = {0};              \
    fill_##noun(&noun)

static const char *how(void)
{
    return with_nulls ? "without optional fields" : "with all fields";
}

static void test_platform(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    ROW(platform);
    bf_store_platform_add(store, &platform, &err);
    is_error(&err, BF_OK, "platform added");

    struct bf_platform_row got = {0};
    bf_store_platform_get(store, platform.name, &got, &err);
    same_platform(&platform, &got, "by name");
    bf_platform_row_done(&got);
    bf_store_platform_get(store, platform.id, &got, &err);
    same_platform(&platform, &got, how());
    bf_platform_row_done(&got);

    bf_store_platform_add(store, &platform, &err);
    is_error(&err, BF_E_EXISTS, "the same platform again");
    char *id = platform.id;
    platform.id = text_of("another id");
    bf_store_platform_add(store, &platform, &err);
    is_error(&err, BF_E_EXISTS, "another platform of the same name");
    bf_store_platform_update(store, &platform, &err);
    is_error(&err, BF_E_NO_SUCH_PLATFORM, "update of a platform that is not there");
    free(platform.id);
    platform.id = id;

    free(platform.url);
    platform.url = text_of("qemu+ssh://b/system");
    bf_store_platform_update(store, &platform, &err);
    is_error(&err, BF_OK, "platform updated");
    struct bf_platform_row *list = NULL;
    size_t count = 0;
    bf_store_platform_list(store, &list, &count, &err);
    is_u64(count, 1, "one platform is listed");
    same_platform(&platform, &list[0], "after update");
    free_platform(list, count);

    bf_store_platform_remove(store, platform.id, &err);
    is_error(&err, BF_OK, "platform removed");
    bf_store_platform_remove(store, platform.id, &err);
    is_error(&err, BF_E_NO_SUCH_PLATFORM, "removing it again");
    bf_store_platform_get(store, platform.id, &got, &err);
    is_error(&err, BF_E_NO_SUCH_PLATFORM, "reading it again");
}

static void test_replication(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    ROW(replication);
    replication.source_platform_id = text_of("s");
    replication.target_platform_id = text_of("t");
    bf_store_replication_add(store, &replication, &err);
    is_error(&err, BF_OK, "replication added");

    struct bf_replication_row got = {0};
    bf_store_replication_get(store, replication.name, &got, &err);
    same_replication(&replication, &got, how());
    is_string(got.source_platform_id, "s", "source platform");
    is_string(got.target_platform_id, "t", "target platform");
    bf_replication_row_done(&got);

    char *machine_id = replication.machine_id;
    replication.machine_id = text_of("another machine");
    bf_store_replication_add(store, &replication, &err);
    is_error(&err, BF_E_EXISTS, "another replication of the same id and name");
    free(replication.machine_id);
    replication.machine_id = machine_id;
    char *id = replication.id;
    char *name = replication.name;
    replication.id = text_of("other");
    replication.name = text_of("other");
    bf_store_replication_add(store, &replication, &err);
    is_error(&err, BF_E_ALREADY_REPLICATED, "a second replication of the machine");
    bf_store_replication_update(store, &replication, &err);
    is_error(&err, BF_E_NO_SUCH_REPLICATION, "update of one that is not there");
    free(replication.id);
    free(replication.name);
    replication.id = id;
    replication.name = name;

    replication.failures = 0;
    free(replication.baseline);
    replication.baseline = text_of("{\"checkpoint\":\"bf-1\"}");
    bf_store_replication_update(store, &replication, &err);
    is_error(&err, BF_OK, "replication updated");
    bf_store_replication_get(store, replication.id, &got, &err);
    is_string(got.baseline, replication.baseline, "baseline after update");
    is_u64(got.failures, 0, "failures after update");
    bf_replication_row_done(&got);
    struct bf_replication_row *list = NULL;
    size_t count = 0;
    bf_store_replication_list(store, &list, &count, &err);
    ok(count == 1 && bf_streq(list[0].id, replication.id), "one replication is listed");
    free_replication(list, count);

    bf_store_platform_remove(store, "s", &err);
    is_error(&err, BF_E_IN_USE, "the source platform cannot go");
    bf_store_platform_remove(store, "t", &err);
    is_error(&err, BF_E_IN_USE, "the target platform cannot go");
    bf_store_replication_remove(store, replication.id, &err);
    is_error(&err, BF_OK, "replication removed");
    bf_store_replication_remove(store, replication.id, &err);
    is_error(&err, BF_E_NO_SUCH_REPLICATION, "removing it again");
    bf_store_replication_get(store, replication.id, &got, &err);
    is_error(&err, BF_E_NO_SUCH_REPLICATION, "reading it again");
    add_replication(store, "r", "s", "no such", &err);
    is_error(&err, BF_E_NO_SUCH_PLATFORM, "a replication to an unknown platform");
}

static void test_volume(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    ROW(volume);
    volume.replication_id = text_of("r");
    for (unsigned pass = 0; pass < 2; pass++) {
        bf_store_volume_put(store, &volume, &err);
        is_error(&err, BF_OK, "volume put");
        struct bf_volume_row *list = NULL;
        size_t count = 0;
        bf_store_volume_list(store, "r", &list, &count, &err);
        if (is_u64(count, 1, "one volume"))
            same_volume(&volume, &list[0], pass ? "after it was replaced" : how());
        free_volume(list, count);
        volume.seeded = !volume.seeded;
        volume.size_bytes = 7;
    }
    volume.size_bytes = (uint64_t)INT64_MAX + 1;
    bf_store_volume_put(store, &volume, &err);
    is_error(&err, BF_E_STORE, "a size beyond 63 bits is refused");
    bf_store_volume_remove(store, "r", volume.disk_key, &err);
    is_error(&err, BF_OK, "volume removed");
    bf_store_volume_remove(store, "r", volume.disk_key, &err);
    is_error(&err, BF_OK, "removing what is gone is success");
    struct bf_volume_row *list = NULL;
    size_t count = 1;
    bf_store_volume_list(store, "r", &list, &count, &err);
    ok(count == 0 && !list, "no volume is left");
    free(volume.replication_id);
    volume.replication_id = text_of("nobody");
    volume.size_bytes = 1;
    bf_store_volume_put(store, &volume, &err);
    is_error(&err, BF_E_NO_SUCH_REPLICATION, "a volume of no replication");
}

static void test_round(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    uint64_t number = 0;
    ROW(round);
    round.replication_id = text_of("r");
    bf_store_round_next_number(store, "r", &number, &err);
    is_u64(number, 1, "the first round's number");
    round.number = 41;
    bf_store_round_put(store, &round, &err);
    is_error(&err, BF_OK, "round put");
    bf_store_round_next_number(store, "r", &number, &err);
    is_u64(number, 42, "the next round's number");

    ROW(round_disk);
    round_disk.round_id = text_of(round.id);
    bf_store_round_disk_put(store, &round_disk, &err);
    is_error(&err, BF_OK, "round's disk put");
    free(round.state);
    round.state = text_of("complete");
    bf_store_round_put(store, &round, &err);
    is_error(&err, BF_OK, "round put again");

    struct bf_round_disk_row *disks = NULL;
    size_t count = 0;
    bf_store_round_disk_list(store, round.id, &disks, &count, &err);
    if (is_u64(count, 1, "the round's disk survived the round's second put")) {
        same_round_disk(&round_disk, &disks[0], how());
        is_string(disks[0].round_id, round.id, "its round");
    }
    free_round_disk(disks, count);
    free(round_disk.round_id);
    round_disk.round_id = text_of("no such round");
    bf_store_round_disk_put(store, &round_disk, &err);
    is_error(&err, BF_E_STORE, "a disk of no round");

    struct bf_round_row *rounds = NULL;
    bf_store_round_list(store, "r", 0, &rounds, &count, &err);
    if (is_u64(count, 1, "one round"))
        same_round(&round, &rounds[0], how());
    free_round(rounds, count);
    free(round.id);
    round.id = text_of("same number");
    bf_store_round_put(store, &round, &err);
    is_error(&err, BF_E_EXISTS, "two rounds of one number");
    round.number = 43;
    bf_store_round_put(store, &round, &err);
    bf_store_round_list(store, "r", 1, &rounds, &count, &err);
    ok(count == 1 && rounds[0].number == 43, "the newest round comes first, and the limit holds");
    free_round(rounds, count);
}

static void test_point(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    ROW(point);
    point.replication_id = text_of("r");
    point.round_id = with_nulls ? NULL : text_of("same number");
    bf_store_point_put(store, &point, &err);
    is_error(&err, BF_OK, "point put");
    point.removing = !point.removing;
    bf_store_point_put(store, &point, &err);
    struct bf_point_row *list = NULL;
    size_t count = 0;
    bf_store_point_list(store, "r", &list, &count, &err);
    if (is_u64(count, 1, "one point")) {
        same_point(&point, &list[0], how());
        is_string(list[0].round_id, point.round_id, "its round");
    }
    free_point(list, count);
    bf_store_point_remove(store, point.id, &err);
    is_error(&err, BF_OK, "point removed");
    bf_store_point_remove(store, point.id, &err);
    is_error(&err, BF_OK, "removing what is gone is success");
    bf_store_point_list(store, "r", &list, &count, &err);
    is_u64(count, 0, "no point is left");
    free_point(list, count);
}

static void test_launch(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    ROW(launch);
    launch.replication_id = text_of("r");
    for (unsigned pass = 0; pass < 2; pass++) {
        bf_store_launch_put(store, &launch, &err);
        is_error(&err, BF_OK, "launch put");
        free(launch.state);
        launch.state = text_of("booted");
    }
    struct bf_launch_row *list = NULL;
    size_t count = 0;
    bf_store_launch_list(store, "r", &list, &count, &err);
    if (is_u64(count, 1, "one launch"))
        same_launch(&launch, &list[0], how());
    free_launch(list, count);
}

static void test_plan(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_plan_row got, *list = bf_xcalloc(1, sizeof(*list));
    bool found = true;
    ROW(plan);
    plan.replication_id = text_of("r");
    bf_store_plan_get(store, "r", &got, &found, &err);
    ok(!found, "no plan yet");
    bf_store_plan_put(store, &plan, &err);
    plan.made_us++;
    bf_store_plan_put(store, &plan, &err);
    is_error(&err, BF_OK, "plan put twice");
    bf_store_plan_get(store, "r", &got, &found, &err);
    ok(found, "a plan");
    list[0] = got;
    same_plan(&plan, &list[0], how());
    free_plan(list, found);
    bf_store_plan_remove(store, "r", &err);
    bf_store_plan_remove(store, "r", &err);
    is_error(&err, BF_OK, "plan removed, and again");
    bf_store_plan_get(store, "r", &got, &found, &err);
    ok(!found, "no plan is left");
}

static void test_job(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    ROW(job);
    job.replication_id = with_nulls ? NULL : text_of("r");
    free(job.state);
    job.state = text_of("running");
    bf_store_job_put(store, &job, &err);
    is_error(&err, BF_OK, "job put");

    struct bf_job_row *list = NULL;
    size_t count = 0;
    bf_store_job_list_open(store, &list, &count, &err);
    if (is_u64(count, 1, "one open job"))
        same_job(&job, &list[0], how());
    free_job(list, count);
    free(job.state);
    job.state = text_of("done");
    bf_store_job_put(store, &job, &err);
    bf_store_job_list_open(store, &list, &count, &err);
    is_u64(count, 0, "an ended job is not open");
    free_job(list, count);
    bf_store_job_list(store, job.replication_id, 5, &list, &count, &err);
    if (is_u64(count, 1, "jobs %s", with_nulls ? "of the service" : "of the replication")) {
        same_job(&job, &list[0], "after its end");
        is_string(list[0].replication_id, job.replication_id, "its replication");
    }
    free_job(list, count);
    if (with_nulls)
        return;
    bf_store_job_list_cutovers(store, "r", &list, &count, &err);
    is_u64(count, 0, "a job of another kind is no cutover");
    free_job(list, count);
    free(job.kind);
    job.kind = text_of("adopt");
    bf_store_job_put(store, &job, &err);
    bf_store_job_list_cutovers(store, "r", &list, &count, &err);
    if (is_u64(count, 1, "one that adopts is"))
        same_job(&job, &list[0], "a cutover");
    free_job(list, count);
}

static void test_ledger(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    ROW(ledger);
    ledger.replication_id = with_nulls ? NULL : text_of("r");
    free(ledger.platform_id);
    ledger.platform_id = text_of("p");
    static const char *const states[] = {"intended", "made", "removing", "gone", "handed-over"};
    for (size_t i = 0; i < bf_array_length(states); i++) {
        free(ledger.state);
        ledger.state = text_of(states[i]);
        bf_store_ledger_put(store, &ledger, &err);
        struct bf_ledger_row *list = NULL;
        size_t count = 9;
        bf_store_ledger_list(store, "p", ledger.replication_id, true, &list, &count, &err);
        is_u64(count, i < 3, "open entries in state %s", states[i]);
        free_ledger(list, count);
        bf_store_platform_remove(store, "p", &err);
        is_error(&err, i < 3 ? BF_E_IN_USE : BF_OK, "platform removed with entry %s", states[i]);
        if (i >= 3)
            add_platform(store, "p", &err);
    }
    struct bf_ledger_row got = {0};
    bf_store_ledger_get(store, ledger.id, &got, &err);
    same_ledger(&ledger, &got, how());
    bf_ledger_row_done(&got);
    bf_store_ledger_get(store, "0123456789abcdef", &got, &err);
    is_error(&err, BF_E_NO_SUCH_LEDGER_ENTRY, "an entry that is not there");

    static const char *const filters[][2] = {
        {"p", NULL}, {NULL, "r"}, {NULL, NULL}, {"x", NULL}, {NULL, "x"}};
    const uint64_t counts[] = {1, !with_nulls, 1, 0, 0};
    for (size_t i = 0; i < bf_array_length(filters); i++) {
        struct bf_ledger_row *list = NULL;
        size_t count = 9;
        bf_store_ledger_list(store, filters[i][0], filters[i][1], false, &list, &count, &err);
        is_u64(count, counts[i], "entries of platform %s and replication %s",
               filters[i][0] ? filters[i][0] : "any", filters[i][1] ? filters[i][1] : "any");
        free_ledger(list, count);
    }
}

static void test_event(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    uint64_t first = 0;
    uint64_t id = 0;
    ROW(event);
    event.id = 999; /* not taken over */
    bf_store_event_add(store, &event, &first, &err);
    is_error(&err, BF_OK, "event added");
    for (unsigned i = 0; i < 5; i++)
        bf_store_event_add(store, &event, &id, &err);
    is_u64(id, first + 5, "ids rise by one");

    struct bf_event_row *list = NULL;
    size_t count = 0;
    bf_store_event_list(store, event.replication, first - 1, 0, &list, &count, &err);
    if (is_u64(count, 6, "six events")) {
        same_event(&event, &list[0], how());
        is_u64(list[0].id, first, "oldest first");
    }
    free_event(list, count);
    bf_store_event_list(store, NULL, first, 2, &list, &count, &err);
    ok(count == 2 && list[0].id == first + 1, "after an id, with a limit");
    free_event(list, count);
    bf_store_event_list(store, "nobody", 0, 0, &list, &count, &err);
    is_u64(count, 0, "of a replication without events");
    free_event(list, count);
    bf_store_event_list(store, NULL, UINT64_MAX, 0, &list, &count, &err);
    is_u64(count, 0, "after the largest id");
    free_event(list, count);

    bf_store_event_trim(store, 2, &err);
    bf_store_event_list(store, NULL, 0, 0, &list, &count, &err);
    ok(count == 2 && list[1].id == id, "the newest two are kept");
    free_event(list, count);
    bf_store_event_trim(store, UINT64_MAX, &err);
    is_error(&err, BF_OK, "keep all");
    bf_store_event_trim(store, 0, &err);
    bf_store_event_list(store, NULL, 0, 0, &list, &count, &err);
    is_u64(count, 0, "keep none");
    free_event(list, count);
    bf_store_event_add(store, &event, &first, &err);
    is_u64(first, id + 1, "an id is never given twice");
}

/* What belongs to the replication goes with it; the ledger stays and forgets it. */
static void add_history(struct bf_store *store, unsigned number, bool over, struct bf_error *err)
{
    bf_auto_free char *id = bf_xasprintf("h%u", number);
    bf_auto_free char *open_id = bf_xasprintf("open%u", number);
    struct bf_round_row round = {.id = id,
                                 .replication_id = (char[]){"history"},
                                 .number = number,
                                 .state = (char[]){"complete"},
                                 .sent_bytes = 7,
                                 .ended_us = over};
    struct bf_job_row job = {.id = id,
                             .replication_id = (char[]){"history"},
                             .kind = (char[]){"round"},
                             .state = over ? (char[]){"done"} : (char[]){"running"},
                             .started_us = number,
                             .ended_us = over};
    struct bf_ledger_row entry = {.id = id,
                                  .platform_id = (char[]){"t"},
                                  .replication_id = (char[]){"history"},
                                  .kind = (char[]){"layer"},
                                  .state = (char[]){"gone"},
                                  .created_us = number};

    bf_store_round_put(store, &round, err);
    bf_store_job_put(store, &job, err);
    bf_store_ledger_put(store, &entry, err);
    entry.id = open_id;
    entry.state = (char[]){"made"};
    if (number == 1)
        bf_store_ledger_put(store, &entry, err);
    is_error(err, BF_OK, "history %u", number);
}

/* The oldest round is a point's, the second one and its job are not over: they stay. */
static void test_history(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_point_row point = {.id = (char[]){"hp"},
                                 .replication_id = (char[]){"history"},
                                 .round_id = (char[]){"h1"},
                                 .volumes = (char[]){"{}"}};
    struct bf_round_row *rounds = NULL;
    struct bf_job_row *jobs = NULL;
    struct bf_ledger_row *ledger = NULL;
    size_t count = 0;

    add_replication(store, "history", "s", "t", &err);
    for (unsigned i = 1; i <= 50; i++)
        add_history(store, i, i != 2, &err);
    bf_store_point_put(store, &point, &err);
    for (unsigned again = 0; again < 2; again++)
        bf_store_history_trim(store, "history", 10, &err);
    is_error(&err, BF_OK, "trimmed, twice");

    bf_store_round_list(store, "history", 0, &rounds, &count, &err);
    ok(count == 12 && rounds[0].number == 50 && rounds[9].number == 41, "the newest rounds");
    ok(count == 12 && rounds[10].number == 2 && rounds[11].number == 1,
       "one that is not over, one of a point");
    bf_rows_free(rounds, count, sizeof(*rounds), (bf_row_done_fn *)bf_round_row_done);
    bf_store_job_list(store, "history", 0, &jobs, &count, &err);
    ok(count == 11 && jobs[9].started_us == 41 && jobs[10].started_us == 2,
       "the newest jobs, and one that is not over");
    bf_rows_free(jobs, count, sizeof(*jobs), (bf_row_done_fn *)bf_job_row_done);
    bf_store_ledger_list(store, NULL, "history", false, &ledger, &count, &err);
    ok(count == 11, "the newest rows of the ledger, and one that is open: %zu", count);
    ok(count == 11 && bf_streq(ledger[0].id, "open1"), "which is the oldest");
    free_ledger(ledger, count);
    struct bf_round_totals totals = {0};
    bf_store_round_totals(store, "history", &totals, &err);
    ok(totals.newest == 50 && totals.complete == 11 && totals.failed == 0,
       "totals of what is over");
    is_u64(totals.sent_bytes, 11 * 7, "bytes sent");
    bf_store_round_totals(store, "nobody", &totals, &err);
    ok(totals.newest == 0 && totals.sent_bytes == 0, "totals of nothing");
    uint64_t number = 0;
    bf_store_round_next_number(store, "history", &number, &err);
    is_u64(number, 51, "numbers go on");
    bf_store_history_trim(store, "history", 1000, &err);
    bf_store_round_list(store, "history", 0, &rounds, &count, &err);
    is_u64(count, 12, "nothing goes where there is less than is kept");
    bf_rows_free(rounds, count, sizeof(*rounds), (bf_row_done_fn *)bf_round_row_done);

    /* What a replication leaves when it is removed is not kept for ever either. */
    bf_store_replication_remove(store, "history", &err);
    bf_store_history_trim(store, "r", 4, &err);
    bf_store_ledger_list(store, NULL, NULL, false, &ledger, &count, &err);
    unsigned gone = 0, open = 0;
    for (size_t i = 0; i < count; i++) {
        gone += ledger[i].id[0] == 'h';
        open += bf_streq(ledger[i].id, "open1");
    }
    ok(gone > 0 && gone <= 4, "a few that are gone: %u", gone);
    is_u64(open, 1, "and the open one");
    free_ledger(ledger, count);
}

static void test_cascade(struct bf_store *store)
{
    bf_auto_error err = BF_ERROR_INIT;
    size_t count = 9;
    bf_store_replication_remove(store, "r", &err);
    is_error(&err, BF_OK, "replication removed");
    struct bf_round_row *rounds = NULL;
    bf_store_round_list(store, "r", 0, &rounds, &count, &err);
    is_u64(count, 0, "its rounds are gone");
    struct bf_round_disk_row *disks = NULL;
    bf_store_round_disk_list(store, "same number", &disks, &count, &err);
    is_u64(count, 0, "their disks are gone");
    struct bf_point_row *points = NULL;
    bf_store_point_list(store, "r", &points, &count, &err);
    is_u64(count, 0, "its points are gone");
    struct bf_launch_row *launches = NULL;
    bf_store_launch_list(store, "r", &launches, &count, &err);
    is_u64(count, 0, "its launches are gone");
    struct bf_job_row *jobs = NULL;
    bf_store_job_list(store, "r", 0, &jobs, &count, &err);
    is_u64(count, 0, "its jobs are gone");
    struct bf_volume_row *volumes = NULL;
    bf_store_volume_list(store, "r", &volumes, &count, &err);
    is_u64(count, 0, "its volumes are gone");
    struct bf_ledger_row *ledger = NULL;
    bf_store_ledger_list(store, NULL, NULL, false, &ledger, &count, &err);
    ok(count > 0, "the ledger stays");
    for (size_t i = 0; i < count; i++)
        ok(!ledger[i].replication_id, "entry %zu has forgotten the replication", i);
    free_ledger(ledger, count);
    struct bf_job_row job = {.id = text_of("late"),
                             .replication_id = text_of("r"),
                             .kind = text_of("remove"),
                             .state = text_of("done")};
    bf_store_job_put(store, &job, &err);
    is_error(&err, BF_E_NO_SUCH_REPLICATION, "a job of a replication that is gone");
    bf_job_row_done(&job);
}

int main(void)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        auto_scratch *directory = scratch_new();
        bf_auto_error err = BF_ERROR_INIT;
        struct bf_store *store = open_or_die(directory);

        with_nulls = pass == 1;
        test_platform(store);
        add_platform(store, "s", &err);
        add_platform(store, "t", &err);
        add_platform(store, "p", &err);
        test_replication(store);
        add_replication(store, "r", "s", "t", &err);
        is_error(&err, BF_OK, "a replication for the other rows");
        test_volume(store);
        test_round(store);
        test_point(store);
        test_launch(store);
        test_plan(store);
        test_job(store);
        test_ledger(store);
        test_event(store);
        test_history(store);
        /* One more of each, for the cascade. */
        struct bf_volume_row volume = {.replication_id = text_of("r"), .disk_key = text_of("sda")};
        bf_store_volume_put(store, &volume, &err);
        bf_volume_row_done(&volume);
        struct bf_point_row point = {
            .id = text_of("p"), .replication_id = text_of("r"), .volumes = text_of("{}")};
        bf_store_point_put(store, &point, &err);
        bf_point_row_done(&point);
        struct bf_round_disk_row disk = {.round_id = text_of("same number"),
                                         .disk_key = text_of("sda")};
        bf_store_round_disk_put(store, &disk, &err);
        bf_round_disk_row_done(&disk);
        is_error(&err, BF_OK, "one more of each");
        test_cascade(store);
        bf_store_close(store);
    }
    return done();
}
