/* SPDX-License-Identifier: Apache-2.0 */
/* An endpoint's text: from a command line, or from a platform's answer. */
#include <stdlib.h>
#include <string.h>

#include "nbd/uri.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_auto_error err = BF_ERROR_INIT;
    struct bf_uri uri;
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (bf_uri_parse(text, &uri, &err) == 0) {
        FUZZ_CHECK(strcmp(uri.text, text) == 0);
        FUZZ_CHECK((uri.kind == BF_URI_FILE) == (uri.path != NULL));
        FUZZ_CHECK((uri.kind == BF_URI_RBD) == (uri.rbd_pool && uri.rbd_image));
        bf_uri_done(&uri);
    } else {
        FUZZ_CHECK(err.code == BF_E_URI);
    }
    free(text);
    return 0;
}
