/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/vmware/reader.h"

#include <stdlib.h>

#include "base/text.h"
#include "connectors/vmware/admission.h"
#include "connectors/vmware/serve.h"

struct bf_vmware_reader {
    struct bf_vmware_reader *next;
    char *snapshot, *key;
    struct bf_server *server;
    struct bf_vmware_ticket *ticket;
    unsigned users;
};

static struct bf_vmware_reader *find(const struct bf_vmware *vw,
                                     const struct bf_vmware_moment *moment,
                                     const struct bf_vmware_ref_disk *disk)
{
    struct bf_vmware_reader *reader = vw->readers;

    while (reader &&
           !(bf_streq(reader->snapshot, moment->snapshot) && bf_streq(reader->key, disk->key)))
        reader = reader->next;
    return reader;
}

static void reader_free(struct bf_vmware_reader *reader)
{
    bf_auto_error ignored = BF_ERROR_INIT;

    (void)bf_server_stop(reader->server, BF_VMWARE_STOP_MS, &ignored);
    bf_vmware_ticket_free(reader->ticket); /* when the connection is closed */
    free(reader->snapshot);
    free(reader->key);
    free(reader);
}

int bf_vmware_reader_open(struct bf_vmware *vw, enum bf_vmware_path path, const char *host,
                          const struct bf_vmware_moment *moment,
                          const struct bf_vmware_ref_disk *disk,
                          struct bf_vmware_reader **ret_reader, struct bf_error *err)
{
    struct bf_vmware_reader *reader = find(vw, moment, disk);
    struct bf_vmware_admission admission = {.server = vw->conf.origin,
                                            .host = host,
                                            .per_host = (unsigned)vw->conf.nfc_per_host,
                                            .in_all = (unsigned)vw->conf.nfc_in_all,
                                            .wait_ms = vw->conf.nfc_wait_s * 1000,
                                            .holding = vw->readers != NULL};

    if (reader && !bf_server_runs(reader->server))
        return bf_fail(err, BF_E_CHILD_FAILED, 0, "the nbdkit that reads %s has ended",
                       disk->file ? disk->file : disk->key);
    if (reader) {
        reader->users++;
        *ret_reader = reader;
        return 0;
    }
    reader = bf_xcalloc(1, sizeof(*reader));
    if (bf_vmware_admit(&vw->base, &admission, &reader->ticket, err) < 0 ||
        bf_vmware_serve(vw, path, moment, disk, &reader->server, err) < 0) {
        reader_free(reader);
        return -1;
    }
    reader->snapshot = bf_xstrdup(moment->snapshot);
    reader->key = bf_xstrdup(disk->key);
    reader->users = 1;
    reader->next = vw->readers;
    vw->readers = reader;
    *ret_reader = reader;
    return 0;
}

const char *bf_vmware_reader_uri(const struct bf_vmware_reader *reader)
{
    return bf_server_uri(reader->server);
}

void bf_vmware_reader_close(struct bf_vmware *vw, struct bf_vmware_reader *reader)
{
    struct bf_vmware_reader **at = &vw->readers;

    if (!reader || --reader->users > 0)
        return;
    while (*at != reader)
        at = &(*at)->next;
    *at = reader->next;
    reader_free(reader);
}
