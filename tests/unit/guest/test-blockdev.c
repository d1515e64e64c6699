/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/text.h"
#include "guest/export.h"
#include "tests/unit/tap.h"

static char *node_of(const char *uri, const char *format, const char *tls, struct bf_error *err)
{
    bf_auto_free char *u = bf_xstrdup(uri);
    bf_auto_free char *f = bf_xstrdup(format);
    bf_auto_free char *t = bf_xstrdup(tls);
    struct bf_endpoint_spec disk = {.uri = u, .format = f, .tls_directory = t};
    const char *tls_directory = NULL;
    char *json = NULL;

    if (bf_export_blockdev(&disk, &json, &tls_directory, err) < 0)
        return NULL;
    is_string(tls_directory, t, "%s: certificates only where asked for", uri);
    return json;
}

static void expect(const char *uri, const char *format, const char *tls, const char *part)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *json = node_of(uri, format, tls, &err);

    has_string(json, part, "%s", uri);
    is_error(&err, BF_OK, "%s: no error", uri);
}

static void refuse(const char *uri, const char *format, enum bf_error_code code)
{
    bf_auto_error err = BF_ERROR_INIT;
    bf_auto_free char *json = node_of(uri, format, NULL, &err);

    ok(!json, "%s is refused", uri);
    is_error(&err, code, "%s: its error", uri);
}

int main(void)
{
    expect("/etc/passwd", NULL, NULL, "\"driver\":\"raw\"");
    expect("/etc/passwd", "qcow2", NULL, "\"driver\":\"qcow2\"");
    expect("/etc/passwd", "raw", NULL, "{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}");
    expect("nbd://h1:77/vol", "raw", NULL, "\"export\":\"vol\"");
    expect("nbd://h1:77/vol", "raw", NULL,
           "\"server\":{\"type\":\"inet\",\"host\":\"h1\",\"port\":\"77\"}");
    expect("nbd://h1", "raw", NULL, "\"port\":\"10809\"");
    expect("nbd+unix:///vda?socket=/run/a%2cb,c.sock", "raw", NULL,
           "\"server\":{\"type\":\"unix\",\"path\":\"/run/a,b,c.sock\"}");
    expect("nbds://h2/x", "raw", "/pki", "\"tls-creds\":\"tls\"");
    expect("rbd:vms/disk%201@p1?conf=/etc/ceph/x.conf&id=mover", "raw", NULL,
           "{\"driver\":\"rbd\",\"pool\":\"vms\",\"image\":\"disk 1\",\"snapshot\":\"p1\","
           "\"conf\":\"/etc/ceph/x.conf\",\"user\":\"mover\"}");
    refuse("rbd:vms", "raw", BF_E_URI);
    refuse("relative", "raw", BF_E_URI);
    refuse("/no/such/file", "raw", BF_E_ENDPOINT_OPEN);
    refuse("/etc", "raw", BF_E_ENDPOINT_OPEN);
    refuse("/etc/passwd", "vmdk", BF_E_BAD_INPUT);
    refuse("nbd+unix:///vda", "raw", BF_E_URI);
    refuse("nbds://h2/x", "raw", BF_E_URI);
    return done();
}
