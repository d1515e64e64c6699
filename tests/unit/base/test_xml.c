/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/xml.h"
#include "tests/unit/tap.h"

static const char *const domain = "<domain type='kvm'>\n"
                                  "  <name>web &lt;1&gt;</name>\n"
                                  "  <memory unit='KiB'> 1048576\n </memory>\n"
                                  "  <empty/>\n"
                                  "  <note><![CDATA[a<b]]></note>\n"
                                  "  <devices>\n"
                                  "    <disk><target dev='vda'/></disk>\n"
                                  "    <disk><target dev='vdb'/></disk>\n"
                                  "  </devices>\n"
                                  "</domain>\n";

static void test_reading(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_xmldoc doc = NULL;
    bf_auto_free char *name = NULL;
    bf_auto_free char *type = NULL;
    bf_auto_free char *dev = NULL;
    bf_auto_free char *count = NULL;
    bf_auto_free char *note = NULL;
    bf_auto_free char *none = NULL;
    bf_auto_free xmlNodePtr *nodes = NULL;
    bf_auto_free xmlNodePtr *no_nodes = NULL;
    uint64_t value = 7;

    is_int(bf_xml_parse(domain, strlen(domain), "domain", &doc, &err), 0, "parsed");
    is_int(bf_xml_need_text(doc, NULL, "/domain/name", &name, &err), 0, "text");
    is_string(name, "web <1>", "unescaped");
    type = bf_xml_text(doc, NULL, "domain/@type");
    is_string(type, "kvm", "attribute, by a path relative to the document");
    note = bf_xml_text(doc, NULL, "/domain/note");
    is_string(note, "a<b", "CDATA");
    count = bf_xml_text(doc, NULL, "count(//disk)");
    is_string(count, "2", "a computed value");
    is_int(bf_xml_u64(doc, NULL, "/domain/memory", &value, &err), 0, "number with blanks around");
    is_u64(value, 1048576, "its value");
    is_int(bf_xml_u64(doc, NULL, "/domain/name", &value, &err), -1, "no number");
    has_string(err.message, "/domain/name", "the path is named");
    is_error(&err, BF_E_PROTOCOL, "breaks the protocol");
    is_u64(bf_xml_nodes(doc, NULL, "//disk", &nodes), 2, "two disks");
    dev = bf_xml_text(doc, nodes[1], "target/@dev");
    is_string(dev, "vdb", "in document order, and relative to a node");
    is_u64(bf_xml_nodes(doc, NULL, "//@type", &no_nodes), 0, "an attribute is no element");
    ok(no_nodes != NULL, "the list is there all the same");
    none = bf_xml_text(doc, NULL, "/domain/nothing");
    ok(!none, "nothing is NULL");
    is_int(bf_xml_need_text(doc, NULL, "/domain/empty", &none, &err), -1, "empty is missing");
    is_error(&err, BF_E_PROTOCOL, "breaks the protocol");
    ok(bf_xml_has(doc, NULL, "/domain/empty") && !bf_xml_has(doc, NULL, "/domain/x"), "has");
    none = bf_xml_text(doc, NULL, "][");
    ok(!none && !bf_xml_has(doc, NULL, "]["), "a malformed path finds nothing");
}

static void test_untrusted(void)
{
    static const char *const bad[] = {
        "",
        "text",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a>&undefined;</a>",
        "<a>\xff</a>",
        "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
        "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>",
        "<!DOCTYPE a><a/>",
    };
    bf_auto_buf deep = {0};
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_xmldoc doc = NULL;

    for (size_t i = 0; i < bf_array_length(bad); i++) {
        is_int(bf_xml_parse(bad[i], strlen(bad[i]), "answer", &doc, &err), -1, "case %zu", i);
        has_string(err.message, "answer: ", "says whose");
        if (strstr(bad[i], "DOCTYPE"))
            has_string(err.message, "DOCTYPE", "and what");
        is_error(&err, BF_E_PROTOCOL, "is refused");
    }
    for (int i = 0; i < 5000; i++)
        bf_buf_add(&deep, "<a>", 3);
    is_int(bf_xml_parse(deep.text, deep.length, "deep", &doc, &err), -1, "5000 levels");
    is_error(&err, BF_E_PROTOCOL, "are refused");
    is_int(bf_xml_parse("<a/>", SIZE_MAX, "huge", &doc, &err), -1, "a huge text");
    is_error(&err, BF_E_TOO_LARGE, "is refused unread");
    ok(!doc, "the output is untouched");
}

static void test_building(void)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_xml out = {0};
    bf_auto_xmldoc doc = NULL;
    bf_auto_free char *text = NULL;
    bf_auto_free char *back = NULL;
    bf_auto_free char *empty = NULL;

    bf_xml_open(&out, "domain");
    bf_xml_attr(&out, "type", "k\"v<m\t&'");
    bf_xml_attr(&out, "none", NULL);
    bf_xml_attrf(&out, "id", "%d", 7);
    bf_xml_leaf(&out, "name", "<script>]]>&\x01\xff\r");
    bf_xml_leaf(&out, "absent", NULL);
    bf_xml_empty(&out, "target", "dev", "vda", "bus", NULL, "n", "1", NULL);
    bf_xml_open(&out, "empty");
    bf_xml_close(&out);
    bf_xml_content(&out, "tail");
    bf_xml_close(&out);
    text = bf_xml_finish(&out);
    is_string(text,
              "<domain type=\"k&quot;v&lt;m&#9;&amp;'\" id=\"7\">"
              "<name>&lt;script&gt;]]&gt;&amp;??&#13;</name>"
              "<target dev=\"vda\" n=\"1\"/><empty/>tail</domain>",
              "escaped");
    is_int(bf_xml_parse(text, strlen(text), "own", &doc, &err), 0, "our own reader takes it");
    back = bf_xml_text(doc, NULL, "/domain/@type");
    is_string(back, "k\"v<m\t&'", "and finds what was put in");
    empty = bf_xml_finish(&out);
    is_string(empty, "", "nothing built is an empty text");
    bf_xml_open(&out, "left");
    bf_xml_open(&out, "open"); /* freed by bf_auto_xml */
}

/* libxml2 likes to write errors by itself; a server's answer must not get onto our stderr. */
static void test_quiet(void)
{
    char path[] = "/tmp/bf-test-xml.XXXXXX";
    bf_auto_fd int fd = mkstemp(path);
    bf_auto_fd int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    off_t size;

    unlink(path);
    dup2(fd, STDERR_FILENO);
    test_untrusted();
    test_reading();
    size = lseek(fd, 0, SEEK_END);
    dup2(saved, STDERR_FILENO);
    is_int(size, 0, "nothing was written to standard error");
}

int main(void)
{
    test_reading();
    test_untrusted();
    test_building();
    test_quiet();
    return done();
}
