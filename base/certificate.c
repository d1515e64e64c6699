/* SPDX-License-Identifier: Apache-2.0 */
#include "base/certificate.h"

#include <curl/curl.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sodium.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/text.h"

/* --- what is in it --- */

static char *fingerprint_of(X509 *x509)
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    char text[sodium_base64_ENCODED_LEN(sizeof(digest), sodium_base64_VARIANT_ORIGINAL)];
    unsigned char *der = NULL;
    int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &der);

    if (length <= 0)
        return NULL;
    crypto_hash_sha256(digest, der, (unsigned long long)length);
    OPENSSL_free(der);
    sodium_bin2base64(text, sizeof(text), digest, sizeof(digest), sodium_base64_VARIANT_ORIGINAL);
    return bf_xstrdup(text);
}

static char *thumbprint_of(X509 *x509)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    bf_auto_buf text = {0};

    if (!X509_digest(x509, EVP_sha1(), digest, &length))
        return NULL;
    for (unsigned i = 0; i < length; i++)
        bf_buf_addf(&text, "%s%02X", i ? ":" : "", digest[i]);
    return bf_steal(text.text);
}

static char *subject_of(X509 *x509)
{
    char *name = X509_NAME_oneline(X509_get_subject_name(x509), NULL, 0);
    char *text = bf_xstrdup(name ? name : "");

    OPENSSL_free(name);
    bf_text_clean(text, false);
    return text;
}

static int read_pem(const char *pem, struct bf_certificate *ret_certificate, struct bf_error *err)
{
    struct bf_certificate certificate;
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *x509 = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    if (!x509)
        return bf_fail(err, BF_E_PROTOCOL, 0, "the server's certificate cannot be read");
    certificate = (struct bf_certificate){.fingerprint = fingerprint_of(x509),
                                          .thumbprint = thumbprint_of(x509),
                                          .subject = subject_of(x509)};
    X509_free(x509);
    if (!certificate.fingerprint || !certificate.thumbprint) {
        bf_certificate_done(&certificate);
        return bf_fail(err, BF_E_PROTOCOL, 0, "the server's certificate has no usable key");
    }
    *ret_certificate = certificate;
    return 0;
}

void bf_certificate_done(struct bf_certificate *certificate)
{
    free(certificate->fingerprint);
    free(certificate->thumbprint);
    free(certificate->subject);
    *certificate = (struct bf_certificate){0};
}

/* --- getting it --- */

static void set_options(CURL *easy, const char *url, const char *ca_file, bool verify,
                        uint64_t timeout_ms)
{
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(easy, CURLOPT_CERTINFO, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
    if (ca_file)
        curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
}

/* The server's own is the first of its chain. */
static const char *first_pem(CURL *easy)
{
    struct curl_certinfo *info = NULL;

    if (curl_easy_getinfo(easy, CURLINFO_CERTINFO, &info) != CURLE_OK || !info ||
        info->num_of_certs < 1)
        return NULL;
    for (struct curl_slist *at = info->certinfo[0]; at; at = at->next)
        if (bf_starts_with(at->data, "Cert:"))
            return at->data + strlen("Cert:");
    return NULL;
}

int bf_certificate_fetch(const char *url, const char *ca_file, bool verify, uint64_t timeout_ms,
                         struct bf_certificate *ret_certificate, struct bf_error *err)
{
    struct bf_http_conf none = {.cancel_fd = -1};
    struct bf_http *http = NULL;
    CURL *easy;
    int rc;

    if (bf_http_new(&none, &http, err) < 0) /* libcurl and libsodium are ready after it */
        return -1;
    bf_http_free(http);
    easy = curl_easy_init();
    if (!easy)
        return bf_fail(err, BF_E_NO_MEMORY, 0, "certificate of %s", url);
    set_options(easy, url, ca_file, verify, timeout_ms);
    CURLcode result = curl_easy_perform(easy);
    const char *pem = result == CURLE_OK ? first_pem(easy) : NULL;
    if (result != CURLE_OK)
        rc = bf_fail(err,
                     result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CONNECT_ERROR
                         ? BF_E_TLS
                         : BF_E_PLATFORM_UNREACHABLE,
                     0, "certificate of %s: %s", url, curl_easy_strerror(result));
    else if (!pem)
        rc = bf_fail(err, BF_E_PROTOCOL, 0, "%s shows no certificate", url);
    else
        rc = read_pem(pem, ret_certificate, err);
    curl_easy_cleanup(easy);
    return rc;
}
