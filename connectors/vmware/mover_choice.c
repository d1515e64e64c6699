/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/mover_choice.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "connectors/vmware/precheck.h"

#define KNOWN_MS 30000 /* all disks of a machine are opened one after the other */

static bool has(const struct bf_vmware_fit *fit, const char *id)
{
    for (size_t i = 0; i < fit->findings.count; i++) {
        if (bf_streq(fit->findings.items[i].id, id))
            return true;
    }
    return false;
}

bool bf_vmware_fits_choose(const struct bf_vmware_fit *fits, size_t count, bool *used)
{
    bool good = false, any = false;

    for (size_t i = 0; i < count; i++) {
        used[i] = !bf_findings_block(&fits[i].findings);
        any = any || used[i];
        good = good || (used[i] && !has(&fits[i], "vmware-mover-nfs"));
    }
    for (size_t i = 0; i < count && good; i++)
        used[i] = used[i] && !has(&fits[i], "vmware-mover-nfs");
    return any;
}

void bf_vmware_fit_done(struct bf_vmware_fit *fit)
{
    bf_vmware_machine_free(fit->mover);
    bf_findings_done(&fit->findings);
    *fit = (struct bf_vmware_fit){0};
}

int bf_vmware_mover_fit(struct bf_vmware *vw, const struct bf_vmware_machine *machine, size_t index,
                        struct bf_vmware_fit *ret_fit, struct bf_error *err)
{
    const char *id = vw->conf.movers.list[index].id;
    bf_cleanup(bf_vmware_fit_done) struct bf_vmware_fit fit = {0};

    if (bf_vmware_machine_get(vw, id, BF_E_NO_SUCH_MACHINE, &fit.mover, err) < 0) {
        if (err->code != BF_E_NO_SUCH_MACHINE)
            return -1;
        bf_error_clear(err);
        bf_findings_add(&fit.findings, BF_SEVERITY_BLOCK, "vmware-mover", id,
                        "there is no such machine", "a mover at this vCenter",
                        "disks are attached to it, and it serves them",
                        "make one (docs/mover.md), or correct the platform's option mover");
    } else if (bf_vmware_precheck_reach(vw, machine, fit.mover, &fit.findings, err) < 0) {
        return bf_fail_in(err, "mover %s", id);
    }
    *ret_fit = fit;
    fit = (struct bf_vmware_fit){0};
    return 0;
}

/* --- for a round --- */

static void say_why_not(struct bf_buf *why, const char *id, const struct bf_vmware_fit *fit)
{
    for (size_t i = 0; i < fit->findings.count; i++) {
        const struct bf_finding *finding = &fit->findings.items[i];

        if (finding->severity != BF_SEVERITY_BLOCK)
            continue;
        bf_buf_addf(why, "%s%s: %s (%s)", why->length ? "; " : "", id, finding->found, finding->id);
        return;
    }
}

static int choose(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                  struct bf_vmware_choice *choice, struct bf_error *err)
{
    struct bf_vmware_fit fits[BF_MOVERS_MAX] = {0};
    bool used[BF_MOVERS_MAX] = {0};
    size_t count = vw->conf.movers.count;
    bf_auto_buf why = {0};
    int rc = 0;

    choice->count = 0;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = bf_vmware_mover_fit(vw, machine, i, &fits[i], err);
    if (rc == 0 && !bf_vmware_fits_choose(fits, count, used)) {
        for (size_t i = 0; i < count; i++)
            say_why_not(&why, vw->conf.movers.list[i].id, &fits[i]);
        rc = bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0, "no mover reaches the disks of %s: %s",
                     machine->machine->name, why.text);
    }
    for (size_t i = 0; i < count; i++) {
        if (used[i])
            choice->list[choice->count++] = i;
        bf_vmware_fit_done(&fits[i]);
    }
    free(choice->machine);
    choice->machine = rc == 0 ? bf_xstrdup(machine->machine->id) : NULL;
    choice->until = bf_deadline_in(KNOWN_MS);
    return rc;
}

int bf_vmware_movers_choose(struct bf_vmware *vw, const struct bf_vmware_machine *machine,
                            size_t *list, size_t *ret_count, struct bf_error *err)
{
    struct bf_vmware_choice *choice = &vw->choice;

    if (vw->conf.movers.count == 1) {
        list[0] = 0;
        *ret_count = 1;
        return 0;
    }
    if ((!bf_streq(choice->machine, machine->machine->id) || bf_deadline_passed(choice->until)) &&
        choose(vw, machine, choice, err) < 0)
        return -1;
    memcpy(list, choice->list, choice->count * sizeof(*list));
    *ret_count = choice->count;
    return 0;
}
