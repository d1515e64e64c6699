/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/backup_xml.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "base/xml.h"
#include "connectors/ops.h"

static void write_server(struct bf_xml_out *out, const struct bf_libvirt_job *job)
{
    if (job->socket) {
        bf_xml_empty(out, "server", "transport", "unix", "socket", job->socket, NULL);
        return;
    }
    bf_auto_free char *port = bf_xasprintf("%llu", (unsigned long long)job->port);
    bf_xml_empty(out, "server", "transport", "tcp", "tls", job->tls ? "yes" : NULL, "name",
                 job->address, "port", port, NULL);
}

char *bf_libvirt_job_write(const struct bf_libvirt_job *job)
{
    bf_auto_xml out = {0};

    bf_xml_open(&out, "domainbackup");
    bf_xml_attr(&out, "mode", "pull");
    bf_xml_leaf(&out, "incremental", job->incremental);
    write_server(&out, job);
    bf_xml_open(&out, "disks");
    for (size_t i = 0; i < job->disk_count; i++) {
        const struct bf_libvirt_job_disk *disk = &job->disks[i];
        /* A disk that is not listed would be included or not by rules of libvirt's. */
        if (!disk->included) {
            bf_xml_empty(&out, "disk", "name", disk->dev, "backup", "no", NULL);
            continue;
        }
        bf_xml_open(&out, "disk");
        bf_xml_attr(&out, "name", disk->dev);
        bf_xml_attr(&out, "backup", "yes");
        bf_xml_attr(&out, "type", "file");
        if (job->incremental && disk->full)
            bf_xml_attr(&out, "backupmode", "full");
        bf_xml_empty(&out, "scratch", "file", disk->scratch, NULL);
        bf_xml_close(&out);
    }
    bf_xml_close(&out);
    bf_xml_close(&out);
    return bf_xml_finish(&out);
}

static int read_job(xmlDocPtr doc, struct bf_libvirt_job *job, struct bf_error *err)
{
    bf_auto_free xmlNodePtr *nodes = NULL;
    bf_auto_free char *tls = bf_xml_text(doc, NULL, "/domainbackup/server/@tls");
    size_t count = bf_xml_nodes(doc, NULL, "/domainbackup/disks/disk", &nodes);

    job->incremental = bf_xml_text(doc, NULL, "/domainbackup/incremental");
    job->socket = bf_xml_text(doc, NULL, "/domainbackup/server/@socket");
    job->address = bf_xml_text(doc, NULL, "/domainbackup/server/@name");
    job->tls = bf_streq(tls, "yes");
    if (!job->socket && bf_xml_has(doc, NULL, "/domainbackup/server/@port") &&
        bf_xml_u64(doc, NULL, "/domainbackup/server/@port", &job->port, err) < 0)
        return -1;
    job->disks = bf_xcalloc(count + 1, sizeof(*job->disks));
    for (size_t i = 0; i < count; i++) {
        struct bf_libvirt_job_disk *disk = &job->disks[i];
        bf_auto_free char *backup = bf_xml_text(doc, nodes[i], "@backup");
        bf_auto_free char *mode = bf_xml_text(doc, nodes[i], "@backupmode");
        job->disk_count = i + 1;
        if (bf_xml_need_text(doc, nodes[i], "@name", &disk->dev, err) < 0)
            return -1;
        disk->included = bf_streq(backup, "yes");
        disk->full = !bf_streq(mode, "incremental");
        disk->scratch = bf_xml_text(doc, nodes[i], "scratch/@file|scratch/@dev");
    }
    return 0;
}

int bf_libvirt_job_read(const char *xml, struct bf_libvirt_job *ret_job, struct bf_error *err)
{
    bf_auto_xmldoc doc = NULL;
    bf_auto_libvirt_job job = {0};

    if (bf_xml_parse(xml, strlen(xml), "backup XML", &doc, err) < 0 || read_job(doc, &job, err) < 0)
        return -1;
    *ret_job = job;
    job = (struct bf_libvirt_job){0};
    return 0;
}

void bf_libvirt_job_done(struct bf_libvirt_job *job)
{
    for (size_t i = 0; i < job->disk_count; i++) {
        free(job->disks[i].dev);
        free(job->disks[i].scratch);
    }
    free(job->disks);
    free(job->incremental);
    free(job->socket);
    free(job->address);
    *job = (struct bf_libvirt_job){0};
}

const char *bf_libvirt_job_tag(const struct bf_libvirt_job *job, char *ret_tag)
{
    for (size_t i = 0; i < job->disk_count; i++) {
        const char *slash = job->disks[i].scratch ? strrchr(job->disks[i].scratch, '/') : NULL;
        if (slash && bf_tag_of(slash + 1, ret_tag))
            return ret_tag;
    }
    return NULL;
}

char *bf_libvirt_checkpoint_write(const char *name, const char *description,
                                  const struct bf_libvirt_checkpoint_disk *disks, size_t disk_count,
                                  int64_t created_s)
{
    bf_auto_xml out = {0};

    bf_xml_open(&out, "domaincheckpoint");
    bf_xml_leaf(&out, "name", name);
    bf_xml_leaf(&out, "description", description);
    if (created_s) {
        bf_auto_free char *created = bf_xasprintf("%lld", (long long)created_s);
        bf_xml_leaf(&out, "creationTime", created);
    }
    bf_xml_open(&out, "disks");
    for (size_t i = 0; i < disk_count; i++)
        bf_xml_empty(&out, "disk", "name", disks[i].dev, "checkpoint",
                     disks[i].bitmap ? "bitmap" : "no", "bitmap",
                     created_s && disks[i].bitmap ? name : NULL, NULL);
    bf_xml_close(&out);
    bf_xml_close(&out);
    return bf_xml_finish(&out);
}

char *bf_libvirt_checkpoint_description(const char *xml)
{
    bf_auto_xmldoc doc = NULL;
    bf_auto_error ignored = BF_ERROR_INIT;

    if (bf_xml_parse(xml, strlen(xml), "checkpoint XML", &doc, &ignored) < 0)
        return NULL;
    return bf_xml_text(doc, NULL, "/domaincheckpoint/description");
}
