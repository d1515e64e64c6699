/* SPDX-License-Identifier: Apache-2.0 */
/* What a child is started with: program, arguments, environment. */
#include "base/process_command.h"
#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *env_value(const char *const *env, const char *name)
{
    size_t length = strlen(name);

    for (; env && *env; env++)
        if (strncmp(*env, name, length) == 0 && (*env)[length] == '=')
            return *env + length + 1;
    return NULL;
}

static const char *search_path(const char *const *env)
{
    const char *path = env_value(env, "PATH");

    if (!path)
        path = getenv("PATH");
    return path && *path ? path : DEFAULT_PATH;
}

/* A relative path is relative to our directory, not to the child's. */
static int resolve_path(const char *name, char **ret_path, struct bf_error *err)
{
    bf_auto_free char *here = *name == '/' ? NULL : getcwd(NULL, 0);

    if (*name != '/' && !here)
        return bf_fail(err, BF_E_SYSTEM, errno, "cannot run %s", name);
    if (bf_file_access(name, X_OK) < 0)
        return bf_fail(err, errno == ENOENT ? BF_E_CHILD_MISSING : BF_E_SYSTEM, errno,
                       "cannot run %s", name);
    *ret_path = here ? bf_xasprintf("%s/%s", here, name) : bf_xstrdup(name);
    return 0;
}

static int resolve(const char *name, const char *search, char **ret_path, struct bf_error *err)
{
    if (strchr(name, '/'))
        return resolve_path(name, ret_path, err);
    while (*search) {
        size_t length = strcspn(search, ":");
        char *path = bf_xasprintf("%.*s/%s", (int)length, search, name);

        if (length && bf_file_access(path, X_OK) == 0) {
            *ret_path = path;
            return 0;
        }
        free(path);
        search += length + (search[length] == ':');
    }
    return bf_fail(err, BF_E_CHILD_MISSING, 0, "%s is not installed", name);
}

static char **copy_argv(const char *const *argv)
{
    size_t count = 0;
    char **copy;

    while (argv[count])
        count++;
    copy = bf_xcalloc(count + 1, sizeof(*copy));
    for (size_t i = 0; i < count; i++)
        copy[i] = bf_xstrdup(argv[i]);
    return copy;
}

static char **make_env(const char *const *env)
{
    const char *temporary = getenv("TMPDIR");
    size_t count = 0, at = 0;
    char **made;

    while (env && env[count])
        count++;
    made = bf_xcalloc(count + 4, sizeof(*made));
    if (!env_value(env, "PATH"))
        made[at++] = bf_xasprintf("PATH=%s", search_path(env));
    if (!env_value(env, "LC_ALL"))
        made[at++] = bf_xstrdup("LC_ALL=C.UTF-8");
    if (temporary && !env_value(env, "TMPDIR"))
        made[at++] = bf_xasprintf("TMPDIR=%s", temporary);
    for (size_t i = 0; i < count; i++)
        made[at++] = bf_xstrdup(env[i]);
    return made;
}

int bf_command_make(const char *const *argv, const char *const *env, struct command *ret_command,
                    struct bf_error *err)
{
    char *path = NULL;

    if (resolve(argv[0], search_path(env), &path, err) < 0)
        return -1;
    *ret_command = (struct command){path, copy_argv(argv), make_env(env)};
    return 0;
}

void bf_command_done(struct command *command)
{
    for (size_t i = 0; command->argv && command->argv[i]; i++)
        free(command->argv[i]);
    for (size_t i = 0; command->envp && command->envp[i]; i++)
        free(command->envp[i]);
    free(command->argv);
    free(command->envp);
    free(command->path);
    *command = (struct command){0};
}
