/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/endpoint_spec.h"

#include <stdlib.h>

void bf_endpoint_spec_done(struct bf_endpoint_spec *spec)
{
    free(spec->uri);
    free(spec->format);
    free(spec->map_name);
    free(spec->tls_directory);
    *spec = (struct bf_endpoint_spec){0};
}

const char *bf_map_kind_to_string(enum bf_map_kind kind)
{
    static const char *const names[BF_MAP_KIND_MAX] = {
        [BF_MAP_ALLOCATION] = "allocation", [BF_MAP_BITMAP] = "bitmap",   [BF_MAP_FILE] = "file",
        [BF_MAP_SINCE] = "since",           [BF_MAP_COMPARE] = "compare",
    };
    return (unsigned)kind < BF_MAP_KIND_MAX ? names[kind] : "unknown";
}
