/* SPDX-License-Identifier: Apache-2.0 */
/* What each connector says of options before a platform is opened: the names and values that it
 * takes, as the API and as the command line (all texts) gives them. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "connectors/connector.h"
#include "tests/unit/tap.h"

static const struct {
    const char *type, *options;
    const char *words; /* of the refusal; NULL: taken */
} cases[] = {
#ifdef BF_WITH_LIBVIRT
    {"libvirt", NULL, NULL},
    {"libvirt", "{}", NULL},
    {"libvirt",
     "{\"pool\":\"p\",\"accel\":\"kvm\",\"nbd_tls\":true,\"nbd_port_first\":11000,\"nbd_port_"
     "count\":10}",
     NULL},
    {"libvirt", "{\"nbd_tls\":\"true\",\"nbd_port_first\":\"11000\",\"nbd_port_count\":\"10\"}",
     NULL},
    {"libvirt", "{\"pol\":\"p\"}", "options.pol: no such option; allowed: scratch_directory, "},
    {"libvirt", "{\"accel\":\"fast\"}", "options.accel: expected auto, kvm or qemu"},
    {"libvirt", "{\"nbd_tls\":\"yes\"}", "options.nbd_tls: expected true or false"},
    {"libvirt", "{\"nbd_port_first\":\"0\"}", "options.nbd_port_first: expected a number from 1"},
    {"libvirt", "{\"nbd_port_first\":-1}", "options.nbd_port_first"},
    {"libvirt", "{\"nbd_port_first\":65000,\"nbd_port_count\":1000}", "not a range"},
    {"libvirt", "{\"scratch_directory\":\"here\"}", "options.scratch_directory"},
    {"libvirt", "{\"mover\":\"m\"}", "options.mover"},
#endif
#ifdef BF_WITH_OPENSTACK
    {"openstack", NULL, NULL},
    {"openstack", "{\"project_name\":\"p\",\"mover_slots\":\"7\",\"config_drive\":\"true\"}", NULL},
    {"openstack", "{\"clouds_yaml\":\"/not/there\"}", NULL}, /* read when it is opened */
    {"openstack", "{\"projekt\":\"p\"}", "options.projekt: no such option; allowed: user_id, "},
    {"openstack", "{\"boot\":\"disk\"}", "options.boot: expected volume or image"},
    {"openstack", "{\"mover_slots\":61}", "options.mover_slots: expected a number from 1 to 60"},
    {"openstack", "{\"mover\":\"m\"}", "go together"},
    {"openstack", "{\"cacert\":\"ca.pem\"}", "options.cacert: expected an absolute path"},
#endif
#ifdef BF_WITH_VMWARE
    {"vmware", NULL, NULL},
    {"vmware",
     "{\"nfc_per_host\":3,\"nfc_in_all\":\"5\",\"mover2\":\"v\",\"mover2_address\":\"h\","
     "\"mover2_certificates\":\"/c\",\"mover2_clone_folder\":\"f\"}",
     NULL},
    {"vmware", "{\"finger_print\":\"x\"}", "options.finger_print: no such option; allowed: ca_"},
    {"vmware", "{\"mover2_colour\":\"x\"}", "_clone_folder"},
    {"vmware", "{\"read_path\":\"fast\"}", "options.read_path: expected auto, vddk, "},
    {"vmware", "{\"read_path\":\"mover\"}", "there is no options.mover"},
    {"vmware", "{\"nfc_in_all\":\"0\"}", "options.nfc_in_all: expected a number from 1 to 1000"},
    {"vmware", "{\"nfc_wait\":\"soon\"}", "options.nfc_wait"},
#endif
};

int main(void)
{
    bf_auto_error unknown = BF_ERROR_INIT;

    for (size_t i = 0; i < bf_array_length(cases); i++) {
        const char *text = cases[i].options ? cases[i].options : "none";
        bf_auto_error err = BF_ERROR_INIT;
        bf_auto_json *options = NULL;
        int rc;

        if (cases[i].options &&
            bf_json_parse(cases[i].options, strlen(cases[i].options), &options, &err) < 0)
            abort();
        rc = bf_platform_check_options(cases[i].type, options, &err);
        if (cases[i].words)
            ok(rc < 0 && err.code == BF_E_BAD_INPUT && strstr(err.message, cases[i].words),
               "%s, %s: %s", cases[i].type, text, rc < 0 ? err.message : "taken");
        else
            ok(rc == 0, "%s, %s: %s", cases[i].type, text, rc < 0 ? err.message : "taken");
    }
    ok(bf_platform_check_options("vbox", NULL, &unknown) < 0 && unknown.code == BF_E_PLATFORM_TYPE,
       "an unknown type");
    return done();
}
