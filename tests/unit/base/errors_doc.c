/* SPDX-License-Identifier: Apache-2.0 */
/* docs/errors.md, made from the catalogue.
 *
 *     errors-doc                print it
 *     errors-doc --write FILE   replace the file
 *     errors-doc --check FILE   TAP: is the file what would be written?
 */
#include "base/cleanup.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "tests/unit/tap.h"

static const char *const head =
    "<!-- SPDX-License-Identifier: Apache-2.0 -->\n"
    "<!-- Made from base/error_catalogue.h by `ninja update-errors-doc`; do not edit. -->\n"
    "# Errors\n"
    "\n"
    "Every error has a code of this list. The API's answers, the command line and the log name "
    "it;\n"
    "the message beside it has the particulars (names, numbers), the evidence the words of the\n"
    "platform or of a helper program. *Retry* says whether repeating the same operation is safe\n"
    "and can help. Codes never change their meaning.\n";

static void add_kinds(struct bf_buf *doc)
{
    bf_buf_addf(doc, "\n## Kinds\n\n"
                     "| kind | HTTP status | exit code |\n"
                     "| --- | --- | --- |\n");
    for (unsigned i = BF_KIND_TRANSIENT; i < BF_KIND_MAX; i++) {
        enum bf_kind kind = (enum bf_kind)i;

        bf_buf_addf(doc, "| %s | %d | %d |\n", bf_kind_to_string(kind), bf_kind_http_status(kind),
                    bf_kind_exit_code(kind));
    }
}

static void add_codes(struct bf_buf *doc)
{
    bf_buf_addf(doc, "\n## Codes\n\n"
                     "| code | kind | cause | fix | retry |\n"
                     "| --- | --- | --- | --- | --- |\n");
    for (unsigned i = BF_OK + 1; i < BF_E_MAX; i++) {
        enum bf_error_code code = (enum bf_error_code)i;

        bf_buf_addf(doc, "| `%s` | %s | %s | %s | %s |\n", bf_error_id(code),
                    bf_kind_to_string(bf_error_kind(code)), bf_error_cause(code),
                    bf_error_fix(code), bf_error_retry_safe(code) ? "yes" : "no");
    }
}

static int check(const char *path, const struct bf_buf *doc)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *text = NULL;

    bf_file_read(path, 1 << 20, &text, NULL, &err);
    if (!ok(bf_streq(text, doc->text), "docs/errors.md is what the catalogue says"))
        diag("%s: run `ninja update-errors-doc`", err.message ? err.message : path);
    return done();
}

int main(int argc, char **argv)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_buf doc = {0};

    bf_buf_add(&doc, head, strlen(head));
    add_kinds(&doc);
    add_codes(&doc);
    if (argc == 3 && strcmp(argv[1], "--check") == 0)
        return check(argv[2], &doc);
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        if (bf_file_replace(argv[2], doc.text, doc.length, 0644, &err) == 0)
            return 0;
        fprintf(stderr, "errors-doc: %s\n", err.message);
        return 1;
    }
    fputs(doc.text, stdout);
    return 0;
}
