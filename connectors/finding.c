/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/finding.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/text.h"

void bf_findings_add(struct bf_findings *findings, enum bf_severity severity, const char *id,
                     const char *subject, const char *found, const char *needed, const char *why,
                     const char *fix)
{
    bf_xgrow(&findings->items, &findings->capacity, findings->count + 1, sizeof(*findings->items));
    findings->items[findings->count++] = (struct bf_finding){
        .id = bf_xstrdup(id),
        .severity = severity,
        .subject = bf_xstrdup(subject),
        .found = bf_xstrdup(found),
        .needed = bf_xstrdup(needed),
        .why = bf_xstrdup(why),
        .fix = bf_xstrdup(fix),
    };
}

bool bf_findings_block(const struct bf_findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (findings->items[i].severity == BF_SEVERITY_BLOCK)
            return true;
    }
    return false;
}

void bf_findings_done(struct bf_findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        struct bf_finding *item = &findings->items[i];
        free(item->id);
        free(item->subject);
        free(item->found);
        free(item->needed);
        free(item->why);
        free(item->fix);
    }
    free(findings->items);
    *findings = (struct bf_findings){0};
}

struct json_object *bf_findings_to_json(const struct bf_findings *findings)
{
    struct json_object *array = json_object_new_array();

    for (size_t i = 0; i < findings->count; i++) {
        const struct bf_finding *item = &findings->items[i];
        struct json_object *object = json_object_new_object();
        bf_json_add_string(object, "id", item->id);
        bf_json_add_string(object, "severity", bf_severity_to_string(item->severity));
        bf_json_add_string(object, "subject", item->subject);
        bf_json_add_string(object, "found", item->found);
        bf_json_add_string(object, "needed", item->needed);
        bf_json_add_string(object, "why", item->why);
        bf_json_add_string(object, "fix", item->fix);
        json_object_array_add(array, object);
    }
    return array;
}

const char *bf_severity_to_string(enum bf_severity severity)
{
    static const char *const names[BF_SEVERITY_MAX] = {
        [BF_SEVERITY_INFO] = "info",
        [BF_SEVERITY_WARN] = "warn",
        [BF_SEVERITY_BLOCK] = "block",
    };
    return (unsigned)severity < BF_SEVERITY_MAX ? names[severity] : "unknown";
}
