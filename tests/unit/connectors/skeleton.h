/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "connectors/ops.h"

extern const struct bf_connector_ops skeleton_ops;
