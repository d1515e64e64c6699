/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers that the route table names; each answers one route. */
#pragma once

#include "daemon/api/route.h"

/* system.c */
bf_handler_fn bf_handle_limits, bf_handle_limits_set;
bf_handler_fn bf_handle_status, bf_handle_ledger, bf_handle_reconcile;
/* platforms.c */
bf_handler_fn bf_handle_platforms, bf_handle_platform_add, bf_handle_platform,
    bf_handle_platform_change, bf_handle_platform_remove, bf_handle_platform_test,
    bf_handle_machines, bf_handle_machine, bf_handle_resources;
/* replications.c */
bf_handler_fn bf_handle_replications, bf_handle_replicate, bf_handle_replication,
    bf_handle_replication_change, bf_handle_rounds, bf_handle_points, bf_handle_launches,
    bf_handle_jobs, bf_handle_plan, bf_handle_report, bf_handle_verb;
/* events.c */
bf_handler_fn bf_handle_events;
/* metrics.c */
bf_handler_fn bf_handle_metrics;
