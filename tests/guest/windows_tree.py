# SPDX-License-Identifier: Apache-2.0
"""What a converted Windows disk holds: its files and its registry, for comparisons."""
import contextlib
import hashlib
import pathlib
import tempfile

import hivex

import disks

HIVES = ("SYSTEM", "SOFTWARE")


def hive_tree(path):
    """{"key\\value": (type, bytes)} of a hive; keys in lower case, an empty key as "key\\": None."""
    found = {}
    # A copy: hivex may hold its file longer than a mount is to last.
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(path.read_bytes())
        copy.flush()
        hive = hivex.Hivex(copy.name)

    def walk(node, name):
        values, children = hive.node_values(node), hive.node_children(node)
        for value in values:
            found[f"{name}\\{hive.value_key(value)}"] = hive.value_value(value)
        if not values and not children:
            found[f"{name}\\"] = None
        for child in children:
            walk(child, f"{name}\\{hive.node_name(child).lower()}".lstrip("\\"))
    walk(hive.root(), "")
    return found


@contextlib.contextmanager
def mounted(image, partition=1):
    """The NTFS partition of an image, read-only."""
    with tempfile.TemporaryDirectory() as scratch:
        raw, part, mount = (pathlib.Path(scratch) / name for name in ("raw", "part", "mount"))
        disks.run("qemu-img", "convert", "-O", "raw", image, raw)
        start = disks.partitions(raw)[partition - 1] // disks.MIB
        disks.run("dd", f"if={raw}", f"of={part}", "bs=1M", f"skip={start}", "conv=sparse",
                  "status=none")
        mount.mkdir()
        disks.run("ntfs-3g", "-o", "ro", part, mount)
        try:
            yield mount
        finally:
            disks.run("umount", mount)


def contents(image, partition=1):
    """({path: digest} of all files but the hives, {hive: hive_tree()})."""
    with mounted(image, partition) as mount:
        config = mount / "Windows/System32/config"
        hives = {name: hive_tree(config / name) for name in HIVES}
        files = {str(path.relative_to(mount)): hashlib.sha256(path.read_bytes()).hexdigest()
                 for path in mount.rglob("*") if path.is_file() and path.parent != config}
    return files, hives


def difference(before, after):
    """What was added to or changed in a dictionary; nothing may be missing."""
    assert not set(before) - set(after) - {k for k in before if before[k] is None}
    return {key: value for key, value in after.items() if before.get(key, 0) != value}
