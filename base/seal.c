/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing of secrets at rest.
 *
 * sealed = base64(version byte | nonce | crypto_secretbox(secret, nonce, K'))
 * K'     = BLAKE2b-256(key = the seal key, "blockferry-seal-1:" owner)
 *
 * crypto_secretbox has no associated data; a key of its own for each owner
 * binds the owner's name in: a value moved to another owner does not open.
 * The nonce of 24 random bytes never repeats in practice.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/secret_memory.h"
#include "base/text.h"

#define KEY_BYTES crypto_secretbox_KEYBYTES
#define SEAL_VERSION 1
#define SEALED_MAX ((size_t)128 * 1024) /* text; above any secret that can be read */

_Static_assert(crypto_secretbox_KEYBYTES == 32, "the header promises a key of 32 bytes");

struct bf_seal {
    unsigned char *key; /* of bf_secret_memory() */
};

static int create_key(const char *path, struct bf_error *err)
{
    unsigned char *key = bf_secret_memory(KEY_BYTES);
    int result;

    randombytes_buf(key, KEY_BYTES);
    result = bf_file_create(path, key, KEY_BYTES, 0600, err);
    sodium_free(key);
    /* Another one was quicker: its key is as good, and it is the one that stays. */
    if (result < 0 && err->code == BF_E_EXISTS) {
        bf_error_clear(err);
        result = 0;
    }
    return result;
}

/* A systemd credential shows the group bits of its ACL's mask, hence reading by the group is not
 * refused here; writing by it, and all of others, is. */
static int check_key_file(int fd, const char *path, struct bf_error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return bf_fail(err, BF_E_SEAL_KEY, errno, "cannot look at %s", path);
    if (!S_ISREG(st.st_mode))
        return bf_fail(err, BF_E_SEAL_KEY, 0, "%s is not a file", path);
    if (st.st_mode & 0027)
        return bf_fail(err, BF_E_SEAL_KEY, 0, "%s is open to others (mode %04o, needed: 0600)",
                       path, (unsigned)st.st_mode & 07777);
    if (st.st_size != (off_t)KEY_BYTES)
        return bf_fail(err, BF_E_SEAL_KEY, 0, "%s has %lld bytes, a key has %u", path,
                       (long long)st.st_size, KEY_BYTES);
    return 0;
}

static int read_key(int fd, const char *path, unsigned char *key, struct bf_error *err)
{
    size_t length = 0;

    while (length < KEY_BYTES) {
        ssize_t got = read(fd, key + length, KEY_BYTES - length);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return bf_fail(err, BF_E_SEAL_KEY, got < 0 ? errno : 0, "cannot read %s", path);
        length += (size_t)got;
    }
    return 0;
}

int bf_seal_open(const char *path, int create, struct bf_seal **ret_seal, struct bf_error *err)
{
    bf_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct bf_seal *seal;

    if (fd < 0 && errno == ENOENT && create) {
        if (create_key(path, err) < 0)
            return -1;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    }
    if (fd < 0)
        return bf_fail(err, BF_E_SEAL_KEY, errno, "cannot open %s", path);
    if (check_key_file(fd, path, err) < 0)
        return -1;
    seal = bf_xcalloc(1, sizeof(*seal));
    seal->key = bf_secret_memory(KEY_BYTES);
    if (read_key(fd, path, seal->key, err) < 0) {
        bf_seal_close(seal);
        return -1;
    }
    sodium_mprotect_readonly(seal->key);
    *ret_seal = seal;
    return 0;
}

void bf_seal_close(struct bf_seal *seal)
{
    if (!seal)
        return;
    sodium_free(seal->key);
    free(seal);
}

/* Freed by sodium_free(). */
static unsigned char *key_of_owner(const struct bf_seal *seal, const char *owner)
{
    static const char purpose[] = "blockferry-seal-1:";
    unsigned char *key = bf_secret_memory(KEY_BYTES);
    crypto_generichash_state state;

    crypto_generichash_init(&state, seal->key, KEY_BYTES, KEY_BYTES);
    crypto_generichash_update(&state, (const unsigned char *)purpose, sizeof(purpose) - 1);
    crypto_generichash_update(&state, (const unsigned char *)owner, strlen(owner));
    crypto_generichash_final(&state, key, KEY_BYTES);
    sodium_memzero(&state, sizeof(state));
    return key;
}

int bf_seal_wrap(const struct bf_seal *seal, const char *owner, const struct bf_secret *secret,
                 char **ret_sealed, struct bf_error *err)
{
    const char *text = bf_secret_text(secret);
    size_t length = strlen(text);
    size_t size = 1 + crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES + length;
    bf_auto_free unsigned char *bytes = bf_xcalloc(1, size);
    unsigned char *nonce = bytes + 1;
    unsigned char *key = key_of_owner(seal, owner);
    size_t text_size = sodium_base64_encoded_len(size, sodium_base64_VARIANT_ORIGINAL);
    char *sealed = NULL;
    int result;

    bytes[0] = SEAL_VERSION;
    randombytes_buf(nonce, crypto_secretbox_NONCEBYTES);
    result = crypto_secretbox_easy(nonce + crypto_secretbox_NONCEBYTES, (const unsigned char *)text,
                                   length, nonce, key);
    sodium_free(key);
    if (result != 0 || text_size > SEALED_MAX)
        return bf_fail(err, BF_E_TOO_LARGE, 0, "the secret of %s cannot be sealed", owner);
    sealed = bf_xcalloc(1, text_size);
    sodium_bin2base64(sealed, text_size, bytes, size, sodium_base64_VARIANT_ORIGINAL);
    *ret_sealed = sealed;
    return 0;
}

int bf_seal_unwrap(const struct bf_seal *seal, const char *owner, const char *sealed,
                   struct bf_secret **ret_secret, struct bf_error *err)
{
    const size_t head = 1 + crypto_secretbox_NONCEBYTES;
    size_t text_length = strnlen(sealed, SEALED_MAX + 1);
    bf_auto_free unsigned char *bytes = NULL;
    unsigned char *key;
    size_t size = 0, length;
    const char *end = NULL;
    char *text;
    int result;

    if (text_length > SEALED_MAX)
        return bf_fail(err, BF_E_SEAL_KEY, 0, "the sealed secret of %s is too long", owner);
    bytes = bf_xcalloc(1, text_length + 1);
    if (sodium_base642bin(bytes, text_length, sealed, text_length, NULL, &size, &end,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        end != sealed + text_length || size < head + crypto_secretbox_MACBYTES ||
        bytes[0] != SEAL_VERSION)
        return bf_fail(err, BF_E_SEAL_KEY, 0, "the sealed secret of %s is damaged", owner);
    length = size - head - crypto_secretbox_MACBYTES;
    text = bf_secret_memory(length + 1);
    key = key_of_owner(seal, owner);
    result = crypto_secretbox_open_easy((unsigned char *)text, bytes + head, size - head, bytes + 1,
                                        key);
    sodium_free(key);
    if (result == 0)
        *ret_secret = bf_secret_new(text, length);
    sodium_free(text);
    if (result != 0)
        return bf_fail(err, BF_E_SEAL_KEY, 0, "the sealed secret of %s does not open with this key",
                       owner);
    return 0;
}
