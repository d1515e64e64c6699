/* SPDX-License-Identifier: Apache-2.0 */
/* The one table of the connectors built in. */
#include "connectors/ops.h"

#ifdef BF_WITH_LIBVIRT
extern const struct bf_connector_ops bf_libvirt_ops;
#endif
#ifdef BF_WITH_OPENSTACK
extern const struct bf_connector_ops bf_openstack_ops;
#endif
#ifdef BF_WITH_VMWARE
extern const struct bf_connector_ops bf_vmware_ops;
#endif

const struct bf_connector_ops *const bf_connectors[] = {
#ifdef BF_WITH_LIBVIRT
    &bf_libvirt_ops,
#endif
#ifdef BF_WITH_OPENSTACK
    &bf_openstack_ops,
#endif
#ifdef BF_WITH_VMWARE
    &bf_vmware_ops,
#endif
    NULL,
};

const char *const *bf_platform_types(void)
{
    static const char *types[sizeof(bf_connectors) / sizeof(bf_connectors[0])];

    /* Every caller writes the same values, so threads need no lock. */
    for (size_t i = 0; bf_connectors[i]; i++)
        types[i] = bf_connectors[i]->type;
    return types;
}
