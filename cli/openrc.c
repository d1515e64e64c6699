/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/openrc.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

/* The older name last. */
static const struct {
    const char *variable;
    const char *option;
} options[] = {
    {"OS_PROJECT_ID", "project_id"},
    {"OS_TENANT_ID", "project_id"},
    {"OS_PROJECT_NAME", "project_name"},
    {"OS_TENANT_NAME", "project_name"},
    {"OS_PROJECT_DOMAIN_ID", "project_domain_id"},
    {"OS_PROJECT_DOMAIN_NAME", "project_domain_name"},
    {"OS_USER_ID", "user_id"},
    {"OS_USER_DOMAIN_ID", "user_domain_id"},
    {"OS_USER_DOMAIN_NAME", "user_domain_name"},
    {"OS_APPLICATION_CREDENTIAL_ID", "application_credential_id"},
    {"OS_REGION_NAME", "region_name"},
    {"OS_INTERFACE", "interface"},
    {"OS_ENDPOINT_TYPE", "interface"},
    {"OS_CACERT", "cacert"},
};

/* An openrc file sets to nothing what it leaves out. */
static const char *variable(const char *name)
{
    const char *text = getenv(name);

    return text && *text ? text : NULL;
}

bool bf_cli_openrc_given(const struct bf_cli *cli)
{
    return bf_streq(bf_cli_option(cli, "type"), "openstack") && !bf_cli_option(cli, "url") &&
           (variable("OS_CLOUD") || variable("OS_AUTH_URL"));
}

static void add(struct json_object *object, const char *key, const char *text)
{
    if (text && !json_object_object_get_ex(object, key, NULL))
        bf_json_add_string(object, key, text);
}

void bf_cli_openrc_add(struct json_object *body)
{
    struct json_object *given = NULL;
    const char *secret = variable("OS_APPLICATION_CREDENTIAL_SECRET");

    json_object_object_get_ex(body, "options", &given);
    if (variable("OS_CLOUD")) {
        bf_auto_free char *url = bf_xasprintf("cloud:%s", variable("OS_CLOUD"));

        bf_json_add_string(body, "url", url);
        add(given, "clouds_yaml", variable("OS_CLIENT_CONFIG_FILE"));
        return;
    }
    bf_json_add_string(body, "url", variable("OS_AUTH_URL"));
    if (!variable("OS_APPLICATION_CREDENTIAL_ID"))
        add(body, "user", variable("OS_USERNAME"));
    add(body, "password", secret ? secret : variable("OS_PASSWORD"));
    for (size_t i = 0; i < bf_array_length(options); i++)
        add(given, options[i].option, variable(options[i].variable));
}
