/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets: a type that does not print, and sealing at rest.
 *
 * A bf_secret's bytes are locked in memory where the kernel allows and wiped
 * when freed.  It never goes into a format string, an argv, an environment or
 * a log; bf_secret_text() is called only where the bytes go to a platform.
 *
 * Sealing: libsodium's crypto_secretbox with a random nonce; the key is 32
 * bytes from a file (root-only, or a systemd credential; one that others can read is refused).  The
 * name of the owner is bound in, so that sealed values cannot be swapped between rows.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct bf_secret; /* opaque */

struct bf_secret *bf_secret_new(const char *text, size_t length);
struct bf_secret *bf_secret_copy(const struct bf_secret *secret); /* NULL stays NULL */
void bf_secret_free(struct bf_secret *secret);
const char *bf_secret_text(const struct bf_secret *secret); /* NUL-terminated, borrowed */
/* Read a secret from a descriptor or file; one final newline is dropped; at most 64 KiB. */
int bf_secret_read_fd(int fd, struct bf_secret **ret_secret, struct bf_error *err);

struct bf_seal; /* the opened key */
/* Load the key file; with `create` a missing one is made (mode 0600). */
int bf_seal_open(const char *path, int create, struct bf_seal **ret_seal, struct bf_error *err);
void bf_seal_close(struct bf_seal *seal);
/* `owner` is authenticated, not stored.  Results are base64 text; caller frees. */
int bf_seal_wrap(const struct bf_seal *seal, const char *owner, const struct bf_secret *secret,
                 char **ret_sealed, struct bf_error *err);
int bf_seal_unwrap(const struct bf_seal *seal, const char *owner, const char *sealed,
                   struct bf_secret **ret_secret, struct bf_error *err);

static inline void bf_secret_free_at(struct bf_secret **at)
{
    bf_secret_free(*at);
}
#define bf_auto_secret __attribute__((cleanup(bf_secret_free_at))) struct bf_secret
