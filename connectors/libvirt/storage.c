/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/libvirt/storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/xml.h"

/* --- pools --- */

const char *bf_libvirt_pool_default(const struct bf_libvirt *lv)
{
    return lv->conf.pool ? lv->conf.pool : "default";
}

static int read_pool(struct bf_libvirt *lv, virStoragePoolPtr vir, struct bf_libvirt_pool *pool,
                     struct bf_error *err)
{
    virStoragePoolInfo info;
    bf_auto_xmldoc doc = NULL;
    bf_auto_free char *xml = virStoragePoolGetXMLDesc(vir, 0);

    if (!xml || virStoragePoolGetInfo(vir, &info) < 0)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "storage pool %s", pool->name);
    if (info.state != VIR_STORAGE_POOL_RUNNING && info.state != VIR_STORAGE_POOL_DEGRADED)
        return bf_fail(err, BF_E_NO_SUCH_STORAGE, 0, "storage pool %s is not active", pool->name);
    if (bf_xml_parse(xml, strlen(xml), "pool XML", &doc, err) < 0)
        return -1;
    bf_auto_free char *type = bf_xml_text(doc, NULL, "/pool/@type");
    if (!bf_streq(type, "dir") && !bf_streq(type, "fs") && !bf_streq(type, "netfs"))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "storage pool %s is of type %s; a directory is needed", pool->name,
                       type ? type : "unknown");
    pool->directory = bf_xml_text(doc, NULL, "/pool/target/path");
    if (!pool->directory)
        return bf_fail(err, BF_E_PROTOCOL, 0, "storage pool %s has no path", pool->name);
    pool->capacity_bytes = info.capacity;
    pool->available_bytes = info.available;
    return 0;
}

int bf_libvirt_pool_find(struct bf_libvirt *lv, const char *name, struct bf_libvirt_pool *ret_pool,
                         struct bf_error *err)
{
    bf_auto_libvirt_pool pool = {.name = bf_xstrdup(name ? name : bf_libvirt_pool_default(lv))};
    bf_auto_vir(pool) virStoragePoolPtr vir = virStoragePoolLookupByName(lv->conn, pool.name);
    struct stat st;

    if (!vir)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "storage pool %s", pool.name);
    if (read_pool(lv, vir, &pool, err) < 0)
        return -1;
    if (!lv->conf.local || stat(pool.directory, &st) < 0 || !S_ISDIR(st.st_mode))
        return bf_fail(err, BF_E_PLATFORM_UNSUPPORTED, 0,
                       "the directory %s of storage pool %s is not on this host", pool.directory,
                       pool.name);
    *ret_pool = pool;
    pool = (struct bf_libvirt_pool){0};
    return 0;
}

void bf_libvirt_pool_done(struct bf_libvirt_pool *pool)
{
    free(pool->name);
    free(pool->directory);
    *pool = (struct bf_libvirt_pool){0};
}

void bf_libvirt_pool_refresh(struct bf_libvirt *lv, const char *name)
{
    bf_auto_vir(pool) virStoragePoolPtr vir = virStoragePoolLookupByName(lv->conn, name);

    if (vir)
        (void)virStoragePoolRefresh(vir, 0);
}

static char *volume_xml(const char *file_name, uint64_t size_bytes, const char *backing,
                        const char *backing_format)
{
    bf_auto_xml out = {0};
    bf_auto_free char *capacity = bf_xasprintf("%llu", (unsigned long long)size_bytes);
    bf_auto_free char *owner = bf_xasprintf("%u", (unsigned)geteuid());
    bf_auto_free char *group = bf_xasprintf("%u", (unsigned)getegid());

    bf_xml_open(&out, "volume");
    bf_xml_leaf(&out, "name", file_name);
    bf_xml_leaf(&out, "capacity", capacity);
    if (!backing)
        bf_xml_leaf(&out, "allocation", "0");
    bf_xml_open(&out, "target");
    bf_xml_empty(&out, "format", "type", backing ? "qcow2" : "raw", NULL);
    /* libvirtd runs as root; without this only root could write the file. */
    bf_xml_open(&out, "permissions");
    bf_xml_leaf(&out, "mode", "0660");
    bf_xml_leaf(&out, "owner", owner);
    bf_xml_leaf(&out, "group", group);
    bf_xml_close(&out);
    bf_xml_close(&out);
    if (backing) {
        bf_xml_open(&out, "backingStore");
        bf_xml_leaf(&out, "path", backing);
        bf_xml_empty(&out, "format", "type", backing_format, NULL);
        bf_xml_close(&out);
    }
    bf_xml_close(&out);
    return bf_xml_finish(&out);
}

int bf_libvirt_pool_create(struct bf_libvirt *lv, const char *pool_name, const char *directory,
                           const char *file_name, uint64_t size_bytes, const char *backing,
                           const char *backing_format, struct bf_error *err)
{
    bf_auto_vir(pool) virStoragePoolPtr pool = virStoragePoolLookupByName(lv->conn, pool_name);
    bf_auto_free char *xml = volume_xml(file_name, size_bytes, backing, backing_format);
    bf_auto_free char *path = bf_xasprintf("%s/%s", directory, file_name);

    if (!pool)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "storage pool %s", pool_name);
    /* libvirt would overwrite a file that it has not seen yet. */
    if (bf_file_access(path, F_OK) == 0)
        return 0;
    bf_auto_vir(vol) virStorageVolPtr vol = virStorageVolCreateXML(pool, xml, 0);
    if (!vol && bf_libvirt_last() == VIR_ERR_STORAGE_VOL_EXIST) {
        /* It still believes in a file that we have renamed. */
        (void)virStoragePoolRefresh(pool, 0);
        vol = virStorageVolCreateXML(pool, xml, 0);
    }
    if (!vol)
        return bf_libvirt_fail(lv, err, BF_E_PLATFORM_ERROR, "creating %s in storage pool %s",
                               file_name, pool_name);
    return 0;
}

/* --- refs of volumes --- */

char *bf_libvirt_volume_write(const struct bf_libvirt_volume *volume)
{
    bf_auto_json *json = json_object_new_object();

    bf_json_add_u64(json, "v", 1);
    bf_json_add_string(json, "pool", volume->pool);
    bf_json_add_string(json, "directory", volume->directory);
    bf_json_add_string(json, "tag", volume->tag);
    bf_json_add_string(json, "name", volume->name);
    bf_json_add_u64(json, "size", volume->size_bytes);
    return bf_xstrdup(bf_json_text(json));
}

int bf_libvirt_volume_read(const char *ref, struct bf_libvirt_volume *ret_volume,
                           struct bf_error *err)
{
    bf_auto_json *json = NULL;
    const char *pool, *directory, *tag, *name;
    uint64_t size;

    if (bf_json_parse(ref, strlen(ref), &json, err) < 0 ||
        bf_json_get_string(json, "", "pool", &pool, err) < 0 ||
        bf_json_get_string(json, "", "directory", &directory, err) < 0 ||
        bf_json_get_string(json, "", "tag", &tag, err) < 0 ||
        bf_json_get_string(json, "", "name", &name, err) < 0 ||
        bf_json_get_u64(json, "", "size", &size, err) < 0)
        return bf_fail_in(err, "volume ref");
    if (!bf_tag_valid(tag) || strchr(name, '/'))
        return bf_fail(err, BF_E_BAD_INPUT, 0, "volume ref: malformed");
    *ret_volume = (struct bf_libvirt_volume){
        .pool = bf_xstrdup(pool),
        .directory = bf_xstrdup(directory),
        .tag = bf_xstrdup(tag),
        .name = bf_xstrdup(name),
        .size_bytes = size,
    };
    return 0;
}

void bf_libvirt_volume_done(struct bf_libvirt_volume *volume)
{
    free(volume->pool);
    free(volume->directory);
    free(volume->tag);
    free(volume->name);
    *volume = (struct bf_libvirt_volume){0};
}

/* --- file names --- */

void bf_libvirt_file_parse(const char *name, struct bf_libvirt_file *ret_file)
{
    struct bf_libvirt_file file = {0};
    const char *end;

    *ret_file = (struct bf_libvirt_file){0};
    if (!bf_tag_of(name, file.tag))
        return;
    const char *rest = name + BF_TAG_LENGTH;
    if (bf_streq(rest, "-console.log")) {
        file.kind = BF_LIBVIRT_FILE_CONSOLE;
    } else if (bf_streq(rest, "-nvram.fd")) {
        file.kind = BF_LIBVIRT_FILE_NVRAM;
    } else if (bf_streq(rest, "-companion.img")) {
        file.kind = BF_LIBVIRT_FILE_COMPANION;
    } else if (bf_starts_with(rest, "-clone-of-") && bf_tag_of(rest + 10, file.volume)) {
        if (!bf_streq(rest + 10 + BF_TAG_LENGTH, ".qcow2"))
            return;
        file.kind = BF_LIBVIRT_FILE_CLONE;
    } else if (bf_starts_with(rest, "-of-") && bf_tag_of(rest + 4, file.volume)) {
        end = rest + 4 + BF_TAG_LENGTH;
        file.raw = bf_ends_with(end, ".raw");
        if (bf_streq(end, ".part.raw") || bf_streq(end, ".part.qcow2"))
            file.kind = BF_LIBVIRT_FILE_PART;
        else if (bf_streq(end, ".raw") || bf_streq(end, ".qcow2"))
            file.kind = BF_LIBVIRT_FILE_POINT;
        else
            return;
    } else if (rest[0] == '-' && bf_ends_with(rest, ".raw")) {
        file.kind = BF_LIBVIRT_FILE_NEW;
        file.raw = true;
        memcpy(file.volume, file.tag, sizeof(file.volume));
    } else {
        return;
    }
    *ret_file = file;
}

int bf_libvirt_files(const char *directory, const char *volume_tag, char ***ret_names,
                     size_t *ret_count, struct bf_error *err)
{
    DIR *dir = opendir(directory);
    const struct dirent *entry;
    char **names = NULL;
    size_t count = 0, capacity = 0;

    if (!dir)
        return bf_fail(err, BF_E_NO_SUCH_STORAGE, errno, "storage directory %s", directory);
    while ((entry = readdir(dir))) {
        struct bf_libvirt_file file;
        bf_libvirt_file_parse(entry->d_name, &file);
        if (file.kind == BF_LIBVIRT_FILE_OTHER ||
            (volume_tag && !bf_streq(file.volume, volume_tag)))
            continue;
        bf_xgrow(&names, &capacity, count + 1, sizeof(*names));
        names[count++] = bf_xstrdup(entry->d_name);
    }
    closedir(dir);
    *ret_names = names;
    *ret_count = count;
    return 0;
}

void bf_libvirt_files_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

static int sync_path(const char *path, int flags, struct bf_error *err)
{
    bf_auto_fd int fd = open(path, flags | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        return bf_fail(err, BF_E_WRITE_ERROR, errno, "writing %s to disk", path);
    return 0;
}

int bf_libvirt_sync(const char *path, struct bf_error *err)
{
    bf_auto_free char *directory = bf_xstrdup(path);
    char *slash = strrchr(directory, '/');

    if (sync_path(path, O_RDONLY, err) < 0)
        return -1;
    *(slash == directory ? slash + 1 : slash) = '\0';
    return sync_path(directory, O_RDONLY | O_DIRECTORY, err);
}
