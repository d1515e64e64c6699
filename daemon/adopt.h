/* SPDX-License-Identifier: Apache-2.0 */
/* Policy transfer: adopt.  Where source and target share the store, nothing is replicated: the
 * cutover hands the source's own volumes over to the target, and a rollback gives them back.
 *
 * The job is of kind "adopt" and has the steps of a cutover without rounds and conversion.  Its
 * context has beside what launch.h tells: "adopt": [{"key", "place"}].  An adopted volume stands
 * among the launch's clones; its ledger row has the kind "adoption" and holds the place as `owner`.
 */
#pragma once

#include "connectors/connector.h"
#include "daemon/policy.h"

struct json_object;

/* May these be asked for together?  BF_E_BAD_INPUT. */
int bf_adopt_check(const struct bf_policy *policy, struct bf_error *err);
/* Findings, if the policy says so. */
int bf_adopt_precheck(struct bf_platform *source, struct bf_platform *target,
                      const struct bf_machine *machine, const struct bf_policy *policy,
                      struct json_object *mapping, struct bf_findings *findings,
                      struct bf_error *err);
