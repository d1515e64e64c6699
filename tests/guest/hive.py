# SPDX-License-Identifier: Apache-2.0
"""An empty Windows registry hive, which hivexregedit can then fill.

Layout after the public descriptions of the regf format (version 1.3): one base block, one bin with a
root key (nk), its security record (sk) and a free cell.
"""
import struct

BIN = 4096
NONE = 0xFFFFFFFF


def _cell(payload):
    size = (4 + len(payload) + 7) // 8 * 8
    return struct.pack("<i", -size) + payload.ljust(size - 4, b"\0")


def _root_key(security_offset):
    name = b"ROOT"
    return struct.pack("<2sHQIIIIIIIIIIIIIIIHH", b"nk", 0x2C, 0, 0, 0x20, 0, 0, NONE, NONE, 0, NONE,
                       security_offset, NONE, 0, 0, 0, 0, 0, len(name), 0) + name


def _security(own_offset):
    descriptor = struct.pack("<BBHIIII", 1, 0, 0x8004, 0, 0, 0, 0)
    return struct.pack("<2sHIIII", b"sk", 0, own_offset, own_offset, 1, len(descriptor)) + descriptor


def with_checksum(data):
    """The hive with the right checksum in its header."""
    checksum = 0
    for (word,) in struct.iter_unpack("<I", data[:508]):
        checksum ^= word
    return bytes(data[:508]) + struct.pack("<I", checksum) + bytes(data[512:])


def empty():
    """The bytes of an empty hive."""
    security_offset = 0x20 + len(_cell(_root_key(0)))
    cells = _cell(_root_key(security_offset)) + _cell(_security(security_offset))
    free = BIN - 32 - len(cells)
    cells += struct.pack("<i", free) + b"\0" * (free - 4)
    header = struct.pack("<4sIIQIIIIIII64s", b"regf", 1, 1, 0, 1, 3, 0, 1, 0x20, BIN, 1, b"")
    return with_checksum(header.ljust(4096, b"\0")) + struct.pack("<4sIIQQI", b"hbin", 0, BIN, 0, 0, 0) + cells


if __name__ == "__main__":
    import sys
    with open(sys.argv[1], "wb") as out:
        out.write(empty())
