/* SPDX-License-Identifier: Apache-2.0 */
/* Which libvirt URLs are taken, and whether they are this host.  Names of firmware files. */
#include "connectors/libvirt/firmware.h"
#include "connectors/libvirt/session.h"

#include "base/cleanup.h"
#include "tests/unit/tap.h"

static const struct {
    const char *url;
    bool taken;
    bool local;
} urls[] = {
    {"qemu:///system", true, true},
    {"qemu:///system?", true, true},
    {"qemu+unix:///system?socket=/run/x", true, true},
    {"qemu+unix:///system?socket=/run/x&", true, true},
    {"qemu+unix:///system?&&socket=/run/x;mode=direct", true, true},
    {"qemu+tls://kvm1.example.org/system?pkipath=/etc/pki/x", true, false},
    {"qemu+tls://localhost:16514/system", true, true},
    {"qemu+tls://localhost.example.org/system", true, false},
    {"qemu+ssh://mover@kvm1/system?keyfile=/k&sshauth=privkey", true, false},
    {"qemu+libssh://kvm1/system#fragment", true, false},
    {"qemu+tls://kvm1/system?PKIPATH=/x", true, false},
    {"qemu+tls://kvm1/system?no_verify=1", false, false},
    {"qemu+tls://kvm1/system?pkipath=/x&no_verify=1", false, false},
    {"qemu+tls://kvm1/system?pkipath=/x;NO_verify=1", false, false},
    {"qemu+tls://kvm1/system?no%5fverify=1", false, false},
    {"qemu+tls://kvm1/system?no_verify", false, false},
    {"qemu+tls://kvm1/system?=1", false, false},
    {"qemu+libssh://kvm1/system?known_hosts_verify=ignore", false, false},
    {"qemu+ssh://kvm1/system?command=/bin/sh", false, false},
    {"qemu+ssh://kvm1/system?netcat=/bin/sh", false, false},
    {"qemu+ext://kvm1/system", false, false},
    {"qemu+EXT://kvm1/system", false, false},
    {"qemu+://kvm1/system", false, false},
    {"qemu+tls://user:secret@kvm1/system", false, false},
    {"esx://kvm1/", false, false},
    {"qemu", false, false},
    {"", false, false},
};

static void test_urls(void)
{
    for (size_t i = 0; i < bf_array_length(urls); i++) {
        bf_auto_error err = BF_ERROR_INIT;
        /* Of its exact size, for the sanitizer. */
        bf_auto_free char *url = strdup(urls[i].url);
        struct bf_platform_conf conf = {
            .name = "p", .type = "libvirt", .url = url, .work_directory = "/w"};
        struct bf_libvirt_conf got = {0};
        int rc = bf_libvirt_conf_parse(&conf, &got, &err);

        ok((rc == 0) == urls[i].taken, "\"%s\" is %s", url, urls[i].taken ? "taken" : "refused");
        if (rc == 0)
            ok(got.local == urls[i].local, "and is %sthis host", urls[i].local ? "" : "not ");
        else
            ok(err.code == BF_E_BAD_INPUT && !strstr(err.message, "secret"),
               "and the error is right");
        bf_libvirt_conf_done(&got);
    }
}

static void test_templates(void)
{
    static const struct {
        const char *loader, *template;
    } pairs[] = {
        {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
        {"/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"},
        {"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
        {"/opt/CODE/OVMF_CODE.fd", "/opt/CODE/OVMF_VARS.fd"},
        {"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
        {"/usr/share/OVMF/bios.bin", NULL},
    };

    for (size_t i = 0; i < bf_array_length(pairs); i++) {
        bf_auto_free char *template = bf_libvirt_loader_template(pairs[i].loader);

        is_string(template, pairs[i].template, "the template of %s", pairs[i].loader);
    }
}

int main(void)
{
    test_urls();
    test_templates();
    return done();
}
