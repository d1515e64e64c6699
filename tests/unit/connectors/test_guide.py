#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The documents tell the truth about the code:

  - every C block of the connector guide is taken from the skeleton connector, which is compiled and
    tested;
  - every finding that a connector can tell is in its platform's page, and no other.

usage: test_guide.py SOURCE_ROOT
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
count = 0


def check(passed, name, hint=""):
    global count
    count += 1
    print(f"{'ok' if passed else 'not ok'} {count} - {name.replace('#', '')}")
    if not passed and hint:
        print("# " + hint.replace("\n", "\n# "))


code = (root / "tests/unit/connectors/skeleton.c").read_text(encoding="utf-8")
guide = (root / "docs/adding-a-connector.md").read_text(encoding="utf-8")
blocks = re.findall(r"```c\n(.*?)```", guide, re.S)
check(len(blocks) >= 5, "the guide shows code")
for block in blocks:
    check(block in code, block.splitlines()[0], f"not in the skeleton:\n{block}")

for page in sorted((root / "docs/platforms").glob("*.md")):
    platform = page.stem
    folder = root / "connectors" / platform
    if not folder.is_dir():
        continue
    in_code = set()
    for source in folder.glob("*.c"):
        in_code |= set(re.findall(rf'"({platform}-[a-z0-9-]+)"', source.read_text("utf-8")))
    in_page = set(re.findall(rf"`({platform}-[a-z0-9-]+)`", page.read_text("utf-8")))
    check(in_code and in_code == in_page, f"findings of {page.name}",
          f"only in code: {sorted(in_code - in_page)}\nonly in page: {sorted(in_page - in_code)}")
print(f"1..{count}")
