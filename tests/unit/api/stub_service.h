/* SPDX-License-Identifier: Apache-2.0 */
/* A service for tests of the API's server: daemon/service.h over rows read from a JSON file, and a
 * loop of its own.  It changes rows as the verbs say and plays a job of a second or two; it knows
 * nothing of platforms, and proves nothing about the real service. */
#pragma once

#include <systemd/sd-event.h>

#include "base/error.h"

struct bf_loop *stub_loop_new(void);
void stub_loop_free(struct bf_loop *loop);

struct bf_service *stub_service_new(struct bf_loop *loop, const char *world_path,
                                    struct bf_error *err);
void stub_service_free(struct bf_service *service);
/* Add an event as the service would: stored, and told to subscribers. */
void stub_service_event(struct bf_service *service, const char *replication, const char *type,
                        const char *message);
