/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and times as people read them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"

char *bf_cli_size(struct json_object *object, const char *key)
{
    double value;

    if (!bf_cli_number(object, key, &value) || value < 0)
        return bf_xstrdup("-");
    return bf_format_bytes(bf_cli_u64(object, key));
}

char *bf_cli_seconds(double seconds)
{
    if (!isfinite(seconds) || seconds < 0)
        return bf_xstrdup("-");
    if (seconds < 10)
        return bf_xasprintf("%.1f s", seconds);
    if (seconds < 60)
        return bf_xasprintf("%.0f s", seconds);
    if (seconds > 1e9)
        return bf_xstrdup("for ever");
    return bf_format_duration((uint64_t)(seconds + 0.5));
}

static bool time_of(struct json_object *object, const char *key, int64_t *ret_us)
{
    const char *text = bf_cli_text(object, key);
    bf_auto_error ignored = BF_ERROR_INIT;

    return text && bf_utc_parse(text, ret_us, &ignored) == 0;
}

char *bf_cli_when(struct json_object *object, const char *key)
{
    int64_t us;
    struct tm local, now;
    char text[40];
    time_t seconds, today = time(NULL);

    if (!time_of(object, key, &us))
        return bf_xstrdup("-");
    seconds = (time_t)(us / 1000000);
    localtime_r(&seconds, &local);
    localtime_r(&today, &now);
    if (local.tm_year == now.tm_year && local.tm_yday == now.tm_yday)
        strftime(text, sizeof(text), "%H:%M:%S", &local);
    else
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &local);
    return bf_xstrdup(text);
}

/* Coarse on purpose: one unit is enough to judge an age by. */
static char *distance(int64_t seconds)
{
    if (seconds < 60)
        return bf_xasprintf("%d s", (int)seconds);
    if (seconds < 3600)
        return bf_xasprintf("%d min", (int)(seconds / 60));
    if (seconds < 48 * 3600)
        return bf_xasprintf("%d h", (int)(seconds / 3600));
    return bf_xasprintf("%lld days", (long long)(seconds / 86400));
}

char *bf_cli_ago(struct json_object *object, const char *key)
{
    int64_t us;

    if (!time_of(object, key, &us))
        return bf_xstrdup("-");

    int64_t seconds = (bf_utc_us() - us) / 1000000;

    if (seconds >= 0 && seconds < 2)
        return bf_xstrdup("just now");

    bf_auto_free char *span = distance(seconds < 0 ? -seconds : seconds);

    return seconds >= 0 ? bf_xasprintf("%s ago", span) : bf_xasprintf("in %s", span);
}

char *bf_cli_when_ago(struct json_object *object, const char *key)
{
    bf_auto_free char *when = bf_cli_when(object, key);
    bf_auto_free char *ago = bf_cli_ago(object, key);

    return bf_streq(when, "-") ? bf_steal(when) : bf_xasprintf("%s (%s)", when, ago);
}

char *bf_cli_shown(const char *text)
{
    char *shown = bf_xstrdup(text ? text : "-");

    bf_text_clean(shown, false);
    return shown;
}

const char *bf_cli_style(const struct bf_cli *cli, const char *name)
{
    static const char *const styles[][2] = {
        {"bold", "\033[1m"},   {"dim", "\033[2m"},     {"red", "\033[31m"},
        {"green", "\033[32m"}, {"yellow", "\033[33m"}, {"plain", "\033[0m"},
    };

    for (size_t i = 0; cli->terminal && i < bf_array_length(styles); i++)
        if (bf_streq(styles[i][0], name))
            return styles[i][1];
    return "";
}
