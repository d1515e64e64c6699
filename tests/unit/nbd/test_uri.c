/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/uri.h"

#include "tests/unit/tap.h"

static void good(const char *text, enum bf_uri_kind kind)
{
    struct bf_uri uri = {0};
    bf_auto_error err = BF_ERROR_INIT;

    ok(bf_uri_parse(text, &uri, &err) == 0 && uri.kind == kind, "\"%s\" is of kind %d", text,
       (int)kind);
    is_string(uri.text, text, "its text is kept");
    bf_uri_done(&uri);
}

static void bad(const char *text)
{
    struct bf_uri uri = {.kind = BF_URI_NULL};
    bf_auto_error err = BF_ERROR_INIT;

    ok(bf_uri_parse(text, &uri, &err) == -1, "\"%.40s\" is refused", text);
    is_error(&err, BF_E_URI, "by bad URI");
    ok(!uri.text, "the output is untouched");
}

static void test_rbd(void)
{
    struct bf_uri uri = {0};
    bf_auto_error err = BF_ERROR_INIT;

    ok(bf_uri_parse("rbd:po%2fol/ns/img@snap%20x?id=me&conf=/etc/c.conf", &uri, &err) == 0, "rbd");
    is_string(uri.rbd_pool, "po/ol", "pool, decoded");
    is_string(uri.rbd_namespace, "ns", "namespace");
    is_string(uri.rbd_image, "img", "image");
    is_string(uri.rbd_snapshot, "snap x", "snapshot");
    is_string(uri.rbd_id, "me", "id");
    is_string(uri.rbd_conf, "/etc/c.conf", "conf");
    bf_uri_done(&uri);
    ok(bf_uri_parse("rbd:p/i", &uri, &err) == 0 && !uri.rbd_snapshot && !uri.rbd_namespace,
       "rbd without more");
    bf_uri_done(&uri);
}

static void test_nbd(void)
{
    struct bf_uri uri = {0};
    bf_auto_error err = BF_ERROR_INIT;

    ok(bf_uri_parse("nbds://al%40ce@[::1]:7/sd%3fa/1?tls-psk-file=/k", &uri, &err) == 0, "nbds");
    is_string(uri.nbd_user, "al@ce", "user, decoded");
    is_string(uri.nbd_host, "::1", "host, without brackets");
    is_string(uri.nbd_port, "7", "port");
    is_string(uri.nbd_export, "sd?a/1", "export");
    is_string(uri.nbd_psk_file, "/k", "key file");
    ok(uri.tls && !uri.nbd_socket, "with TLS, over TCP");
    bf_uri_done(&uri);
    ok(bf_uri_parse("nbd+unix:///sda?socket=/run/a%20b", &uri, &err) == 0, "nbd+unix");
    is_string(uri.nbd_socket, "/run/a b", "socket, decoded");
    is_string(uri.nbd_export, "sda", "export");
    ok(!uri.nbd_host && !uri.nbd_user && !uri.tls, "and no more");
    bf_uri_done(&uri);
    ok(bf_uri_parse("nbd://host", &uri, &err) == 0, "nbd");
    is_string(uri.nbd_port, "10809", "the usual port");
    is_string(uri.nbd_export, "", "the default export");
    bf_uri_done(&uri);
}

int main(void)
{
    char longest[5000];

    good("nbd://host", BF_URI_NBD);
    good("nbd://host:10809/export", BF_URI_NBD);
    good("nbd+unix:///?socket=/run/s", BF_URI_NBD);
    good("nbds://host/x", BF_URI_NBD);
    good("nbds+unix://alice@/?socket=s&tls-psk-file=f", BF_URI_NBD);
    good("null:", BF_URI_NULL);
    good("/dev/sda", BF_URI_FILE);
    good("disk.raw", BF_URI_FILE);
    good("./a:b", BF_URI_FILE);
    good("/dev/disk/by-path/pci-0000:00", BF_URI_FILE);
    good("file:/x", BF_URI_FILE);
    test_rbd();
    test_nbd();
    bad("nbd://host:x");
    bad("nbd://host:65536");
    bad("nbd://host:");
    bad("nbd://[::1/x");
    bad("nbd://[::1]7/x");
    bad("nbd://@host");
    bad("nbd://host?socket=/s");
    bad("nbd://host?query=1");
    bad("nbds://host?tls-verify-peer=false");
    bad("nbd+unix://host/?socket=/s");
    bad("nbd+unix:///?socket=");
    bad("nbd+unix:///?socket=/a&socket=/b");
    bad("");
    bad("http://host/x");
    bad("nbd:host:10809");
    bad("nbd://");
    bad("nbd:///export");
    bad("nbd+unix:///export");
    bad("disk:raw");
    bad("file:");
    bad("rbd:image");
    bad("rbd:/image");
    bad("rbd:pool/");
    bad("rbd:pool/image@");
    bad("rbd:pool/a/b/c");
    bad("rbd:pool/i?x=y");
    bad("rbd:pool/i?id=a&id=b");
    bad("rbd:pool/i%");
    bad("rbd:pool/i%0");
    bad("rbd:pool/i%00");
    bad("rbd:pool/i%zz");
    bad("disk\t.raw");
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    bad(longest);
    return done();
}
