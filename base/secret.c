/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets in memory: guarded, locked, not in core dumps, wiped (sodium_malloc). */
#include "base/secret.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/secret_memory.h"
#include "base/text.h"

#define SECRET_MAX ((size_t)64 * 1024)

struct bf_secret {
    size_t length;
    char *text; /* of bf_secret_memory(); read-only once filled */
};

void *bf_secret_memory(size_t size)
{
    void *memory;

    if (sodium_init() < 0)
        abort(); /* no random numbers: nothing could be sealed either */
    memory = sodium_malloc(size);
    if (!memory)
        abort(); /* as bf_xcalloc(): small, and there is no way on without it */
    return memory;
}

/* Takes over `text`. */
static struct bf_secret *secret_of(char *text, size_t length)
{
    struct bf_secret *secret = bf_xcalloc(1, sizeof(*secret));

    sodium_mprotect_readonly(text);
    secret->text = text;
    secret->length = length;
    return secret;
}

struct bf_secret *bf_secret_new(const char *text, size_t length)
{
    char *copy = bf_secret_memory(length + 1);

    if (length)
        memcpy(copy, text, length);
    copy[length] = '\0';
    return secret_of(copy, length);
}

struct bf_secret *bf_secret_copy(const struct bf_secret *secret)
{
    return secret ? bf_secret_new(secret->text, secret->length) : NULL;
}

void bf_secret_free(struct bf_secret *secret)
{
    if (!secret)
        return;
    sodium_free(secret->text);
    free(secret);
}

const char *bf_secret_text(const struct bf_secret *secret)
{
    return secret->text;
}

int bf_secret_read_fd(int fd, struct bf_secret **ret_secret, struct bf_error *err)
{
    char *text = bf_secret_memory(SECRET_MAX + 2);
    size_t length = 0;
    int result = -1;

    while (length < SECRET_MAX + 2) {
        ssize_t got = read(fd, text + length, SECRET_MAX + 2 - length);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            bf_fail(err, BF_E_SYSTEM, errno, "cannot read the secret");
            goto out;
        }
        if (got == 0)
            break;
        length += (size_t)got;
    }
    if (length && length < SECRET_MAX + 2 && text[length - 1] == '\n')
        length--;
    if (length > SECRET_MAX) {
        bf_fail(err, BF_E_TOO_LARGE, 0, "the secret is longer than %zu bytes", SECRET_MAX);
        goto out;
    }
    if (memchr(text, '\0', length)) {
        bf_fail(err, BF_E_BAD_INPUT, 0, "the secret holds a NUL byte");
        goto out;
    }
    /* Into memory of its own size, so that the guard page lies right behind it. */
    *ret_secret = bf_secret_new(text, length);
    result = 0;
out:
    sodium_free(text);
    return result;
}
