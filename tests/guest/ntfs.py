# SPDX-License-Identifier: Apache-2.0
"""States of an NTFS volume that mkntfs and ntfsfix cannot make: each changes a volume in a file.

Layout after the public descriptions of NTFS: the boot sector, the file table's first records (of which
$MFTMirr has a copy), and version 1.1 of $LogFile.
"""
import os
import struct

RECORD = 1024
LOG_FILE = 2
DATA = 0x80
PAGE = 4096
NONE = 0xFFFF
CLEAN = 2


def _table(volume):
    """(bytes in a cluster, where the file table is, where its mirror is)."""
    boot = os.pread(volume, 512, 0)
    cluster = struct.unpack_from("<H", boot, 11)[0] * boot[13]
    return cluster, *(number * cluster for number in struct.unpack_from("<QQ", boot, 48))


def _log(volume):
    """(offset, bytes) of the log: its one run."""
    cluster, table, _ = _table(volume)
    record = os.pread(volume, RECORD, table + LOG_FILE * RECORD)
    at = struct.unpack_from("<H", record, 20)[0]
    while struct.unpack_from("<I", record, at)[0] != DATA:
        at += struct.unpack_from("<I", record, at + 4)[0]
    at += struct.unpack_from("<H", record, at + 32)[0]
    lengths, offsets = record[at] & 15, record[at] >> 4
    run = record[at + 1:at + 1 + lengths + offsets]
    return int.from_bytes(run[lengths:], "little") * cluster, int.from_bytes(run[:lengths], "little") * cluster


def _restart_page(log_size, flags):
    """NTFS is at work on the log, or with CLEAN it has closed it."""
    page = bytearray(PAGE)
    fixups = PAGE // 512 + 1
    struct.pack_into("<4sHHQIIHHH", page, 0, b"RSTR", 0x1E, fixups, 0, PAGE, PAGE, 0x30, 1, 1)
    struct.pack_into("<QHHHHIHHQIHHII", page, 0x30, 1 << 20, 1, NONE, 0, flags, 67 - log_size.bit_length(), 0xE0, 0x40,
                     log_size, 0, 0x30, 0x40, 1, 0)
    struct.pack_into("<QQHHHHHHI8s", page, 0x70, 1 << 20, 1 << 20, NONE, NONE, 0, 0, 0, 0, 8,
                     "NTFS".encode("utf-16-le"))
    for end in range(512, PAGE + 1, 512):
        struct.pack_into("<H", page, end - 2, 1)
    struct.pack_into("<H", page, 0x1E, 1)
    return bytes(page)


def _opened(change):
    def changed(path):
        volume = os.open(path, os.O_RDWR)
        try:
            change(volume)
        finally:
            os.close(volume)
    return changed


@_opened
def unclean(volume):
    """As in a snapshot of a running guest: the log was not closed."""
    offset, size = _log(volume)
    os.pwrite(volume, 2 * _restart_page(size, 0), offset)


@_opened
def lose_log(volume):
    """The log's record is not in use: the volume can be read and not written."""
    for table in _table(volume)[1:]:
        os.pwrite(volume, bytes(2), table + LOG_FILE * RECORD + 22)


@_opened
def tear(volume):
    """The file table and its mirror differ: nothing mounts the volume."""
    os.pwrite(volume, b"BAAD", _table(volume)[1] + LOG_FILE * RECORD)
