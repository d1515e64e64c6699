/* SPDX-License-Identifier: Apache-2.0 */
/* GET /metrics, in Prometheus' text format 0.0.4.
 *
 * What a scrape shows is computed from the replications as the API shows them.  Only the
 * total of bytes sent needs all rounds: the store adds them up once, and after that only the rounds
 * that ended since the last scrape are read.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "daemon/api/api_private.h"
#include "daemon/api/handlers.h"
#include "daemon/service.h"
#include "daemon/state.h"
#include "daemon/store/store.h"

struct total {
    char *id;         /* of the replication */
    uint64_t counted; /* number of the newest ended round that is in it */
    uint64_t sent_bytes;
    uint64_t rounds[3]; /* complete, failed, cancelled */
    bool seen;          /* in this scrape */
};

struct bf_metrics {
    struct total *totals;
    size_t count;
    size_t capacity;
};

static const char *const round_states[] = {"complete", "failed", "cancelled"};

struct bf_metrics *bf_metrics_new(void)
{
    return bf_xcalloc(1, sizeof(struct bf_metrics));
}

void bf_metrics_free(struct bf_metrics *metrics)
{
    if (!metrics)
        return;
    for (size_t i = 0; i < metrics->count; i++)
        free(metrics->totals[i].id);
    free(metrics->totals);
    free(metrics);
}

/* A label's value: backslash, quote and line end are escaped. */
static void add_label(struct bf_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            bf_buf_add(out, "\\n", 2);
        else if (*text == '\\' || *text == '"')
            bf_buf_addf(out, "\\%c", *text);
        else
            bf_buf_add(out, text, 1);
    }
}

static void add_head(struct bf_buf *out, const char *name, const char *type, const char *help)
{
    bf_buf_addf(out, "# HELP blockferry_%s %s\n# TYPE blockferry_%s %s\n", name, help, name, type);
}

static void add_of(struct bf_buf *out, const char *metric, const char *replication)
{
    bf_buf_addf(out, "blockferry_%s{replication=\"", metric);
    add_label(out, replication);
    bf_buf_addf(out, "\"}");
}

static const char *text_of(struct json_object *object, const char *key)
{
    struct json_object *value = json_object_object_get(object, key);

    return json_object_get_type(value) == json_type_string ? json_object_get_string(value) : "";
}

static bool number_of(struct json_object *object, const char *key, double *ret_value)
{
    struct json_object *value = json_object_object_get(object, key);
    enum json_type type = json_object_get_type(value);

    if (type != json_type_int && type != json_type_double)
        return false;
    *ret_value = json_object_get_double(value);
    return true;
}

static uint64_t count_of(struct json_object *object, const char *key)
{
    struct json_object *value = json_object_object_get(object, key);

    return json_object_get_type(value) == json_type_int ? json_object_get_uint64(value) : 0;
}

static struct total *total_of(struct bf_metrics *metrics, const char *id)
{
    for (size_t i = 0; i < metrics->count; i++)
        if (bf_streq(metrics->totals[i].id, id))
            return &metrics->totals[i];
    bf_xgrow(&metrics->totals, &metrics->capacity, metrics->count + 1, sizeof(struct total));
    metrics->totals[metrics->count] = (struct total){.id = bf_xstrdup(id)};
    return &metrics->totals[metrics->count++];
}

static int total_begin(struct bf_api *api, struct total *total, const char *name,
                       struct bf_error *err)
{
    struct bf_round_totals totals = {0};

    if (bf_service_round_totals(api->service, name, &totals, err) < 0)
        return -1;
    total->counted = totals.newest;
    total->sent_bytes = totals.sent_bytes;
    total->rounds[0] = totals.complete;
    total->rounds[1] = totals.failed;
    total->rounds[2] = totals.cancelled;
    return 0;
}

static void total_add(struct total *total, struct json_object *rounds)
{
    uint64_t newest = total->counted;

    for (size_t i = 0; i < json_object_array_length(rounds); i++) {
        struct json_object *round = json_object_array_get_idx(rounds, i);
        uint64_t number = count_of(round, "number");

        for (size_t s = 0; s < bf_array_length(round_states); s++)
            if (number > total->counted && bf_streq(text_of(round, "state"), round_states[s])) {
                total->rounds[s]++;
                total->sent_bytes += count_of(round, "sent_bytes");
                newest = number > newest ? number : newest;
            }
    }
    total->counted = newest;
}

/* Bring the replication's total up to its last round; a running one waits for the next scrape. */
static int total_update(struct bf_api *api, struct json_object *replication, struct bf_error *err)
{
    struct total *total = total_of(api->metrics, text_of(replication, "id"));
    struct json_object *last = json_object_object_get(replication, "last_round");
    uint64_t number = last ? count_of(last, "number") : 0;
    bf_auto_json *answer = NULL;
    struct json_object *rounds;

    total->seen = true;
    if (total->counted == 0 && total_begin(api, total, text_of(replication, "name"), err) < 0)
        return -1;
    if (number <= total->counted || total->counted == 0)
        return 0;
    if (bf_service_rounds(api->service, text_of(replication, "name"), number - total->counted,
                          &answer, err) < 0)
        return -1;
    rounds = answer;
    if (json_object_get_type(answer) == json_type_object)
        rounds = json_object_object_get(answer, "rounds");
    total_add(total, rounds);
    return 0;
}

static void totals_forget_gone(struct bf_metrics *metrics)
{
    size_t kept = 0;

    for (size_t i = 0; i < metrics->count; i++) {
        if (!metrics->totals[i].seen) {
            free(metrics->totals[i].id);
            continue;
        }
        metrics->totals[i].seen = false;
        metrics->totals[kept++] = metrics->totals[i];
    }
    metrics->count = kept;
}

static void add_states(struct bf_buf *out, struct json_object *list)
{
    static const char *const states[] = {
#define X(id, text) text,
        BF_STATES(X)
#undef X
    };

    add_head(out, "replications", "gauge", "Replications by state.");
    for (size_t s = 0; s < bf_array_length(states); s++) {
        unsigned count = 0;

        for (size_t i = 0; i < json_object_array_length(list); i++)
            count += bf_streq(text_of(json_object_array_get_idx(list, i), "state"), states[s]);
        bf_buf_addf(out, "blockferry_replications{state=\"%s\"} %u\n", states[s], count);
    }
}

static void add_jobs(struct bf_buf *out, struct json_object *list)
{
    static const char *const kinds[] = {"check",     "round",   "launch",      "discard",
                                        "cutover",   "confirm", "rollback",    "remove",
                                        "retention", "adopt",   "start-source"};

    add_head(out, "jobs_running", "gauge", "Running jobs by kind.");
    for (size_t k = 0; k < bf_array_length(kinds); k++) {
        unsigned count = 0;

        for (size_t i = 0; i < json_object_array_length(list); i++) {
            struct json_object *job =
                json_object_object_get(json_object_array_get_idx(list, i), "job");

            count += job && bf_streq(text_of(job, "kind"), kinds[k]);
        }
        bf_buf_addf(out, "blockferry_jobs_running{kind=\"%s\"} %u\n", kinds[k], count);
    }
}

/* A gauge of each replication: `inside` NULL, or the object within it that holds the field. */
static void add_gauge(struct bf_buf *out, struct json_object *list, const char *metric,
                      const char *help, const char *inside, const char *key)
{
    add_head(out, metric, "gauge", help);
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);
        struct json_object *holder = inside ? json_object_object_get(one, inside) : one;
        double value;

        if (!holder || !number_of(holder, key, &value))
            continue;
        add_of(out, metric, text_of(one, "name"));
        bf_buf_addf(out, " %.15g\n", value);
    }
}

static void add_totals(struct bf_buf *out, struct bf_metrics *metrics, struct json_object *list)
{
    add_head(out, "sent_bytes_total", "counter", "Bytes written to the target by ended rounds.");
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);

        add_of(out, "sent_bytes_total", text_of(one, "name"));
        bf_buf_addf(out, " %" PRIu64 "\n", total_of(metrics, text_of(one, "id"))->sent_bytes);
    }
    add_head(out, "rounds_total", "counter", "Ended rounds by result.");
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);
        const struct total *total = total_of(metrics, text_of(one, "id"));

        for (size_t s = 0; s < bf_array_length(round_states); s++) {
            bf_buf_addf(out, "blockferry_rounds_total{replication=\"");
            add_label(out, text_of(one, "name"));
            bf_buf_addf(out, "\",result=\"%s\"} %" PRIu64 "\n", round_states[s], total->rounds[s]);
        }
    }
}

static void add_service(struct bf_buf *out, const struct bf_api *api)
{
    add_head(out, "build_info", "gauge", "Always 1; the version is in the label.");
    bf_buf_addf(out, "blockferry_build_info{version=\"%s\"} 1\n", BF_VERSION);
    add_head(out, "api_replies_total", "counter", "Replies of the API by class of status.");
    for (unsigned i = 2; i < bf_array_length(api->replies); i++)
        bf_buf_addf(out, "blockferry_api_replies_total{class=\"%uxx\"} %" PRIu64 "\n", i,
                    api->replies[i]);
    add_head(out, "api_streams", "gauge", "Open event streams.");
    bf_buf_addf(out, "blockferry_api_streams %u\n", api->stream_count);
}

int bf_handle_metrics(struct bf_request *request, struct bf_error *err)
{
    struct bf_api *api = request->api;
    bf_auto_json *answer = NULL;
    bf_auto_buf out = {0};
    struct json_object *list;

    if (bf_service_replications(api->service, &answer, err) < 0)
        return -1;
    list = answer;
    if (json_object_get_type(answer) == json_type_object)
        list = json_object_object_get(answer, "replications");
    for (size_t i = 0; i < json_object_array_length(list); i++)
        if (total_update(api, json_object_array_get_idx(list, i), err) < 0)
            return -1;
    totals_forget_gone(api->metrics);

    add_service(&out, api);
    add_states(&out, list);
    add_jobs(&out, list);
    add_gauge(&out, list, "lag_seconds", "Age of the newest point.", NULL, "lag_s");
    add_gauge(&out, list, "failures", "Rounds failed in a row.", NULL, "failures");
    add_gauge(&out, list, "points", "Points kept.", NULL, "points");
    add_gauge(&out, list, "last_round_seconds", "Duration of the last round.", "last_round",
              "seconds");
    add_gauge(&out, list, "last_round_sent_bytes", "Bytes the last round wrote to the target.",
              "last_round", "sent_bytes");
    add_totals(&out, api->metrics, list);
    bf_reply_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", out.text, out.length);
    return 0;
}
