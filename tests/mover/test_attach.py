# SPDX-License-Identifier: Apache-2.0
"""connectors/mover.h with a real mover: QEMU's monitor is the platform."""
import filecmp
import os
import subprocess

import pytest

from mover import ADDRESS, COPY, build, copy

pytestmark = pytest.mark.timeout(300)
TOOL = os.environ.get("MOVER_QEMU", "mover-qemu")
TAG_A, TAG_B = "bf-00000000000000aa", "bf-00000000000000bb"


def test_attach(run_mover, disk, work):
    machine, certificates = run_mover("--writable")
    machine.monitor.socket.close()
    machine.monitor.lines.close()

    def tool(*args, slots=2, pki=certificates):
        done = subprocess.run([TOOL, machine.monitor_path, ADDRESS, pki, str(slots), *args], check=False, text=True,
                              capture_output=True, timeout=60,
                              env={**os.environ, "PATH": f"{os.path.dirname(COPY)}:{os.environ['PATH']}"})
        return done.stdout.splitlines() if done.returncode == 0 else done.stderr

    one, two, blank = disk("one"), disk("two", seed=2), disk("blank", seed=0)
    uri, = tool("attach", blank, TAG_A, str(16 << 20))
    assert copy("--tls-certificates", certificates, one, uri)["event"] == "done"
    # A new process finds what the one before it made, by the tag.
    assert tool("list") == [f"{TAG_A} blank"]
    assert tool("attach", blank, TAG_A) == [uri]
    assert "in-use" in tool("attach", blank, TAG_B)
    assert "mover-full" in tool("attach", two, TAG_B, slots=1)

    # Another size than it should have, and another mover's certificates: it does not stay attached.
    text = tool("attach", two, TAG_B, "4096")
    assert "mover-not-serving" in text and "instead of 4096" in text
    other = os.path.join(work, "other")
    build(os.path.join(work, "other.raw"), other)
    assert "mover-not-serving" in tool("attach", two, TAG_B, pki=other)
    assert tool("list") == [f"{TAG_A} blank"]

    second, = tool("attach", two, TAG_A)
    out = os.path.join(work, "out")
    assert copy("--tls-certificates", certificates, second, out)["event"] == "done"
    assert filecmp.cmp(two, out, shallow=False)
    assert tool("detach", TAG_B) == [] and len(tool("list")) == 2
    assert tool("detach", TAG_A) == [] and tool("list") == []
    machine.stop()
    assert filecmp.cmp(one, blank, shallow=False)
