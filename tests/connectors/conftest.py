# SPDX-License-Identifier: Apache-2.0
"""A real libvirt and the seam program for the tests of the libvirt connector.

The environment says where the built programs are: SEAM (the seam program), BLOCKFERRY_COPY.
One libvirtd serves a whole file of tests; each test has guests and tags of its own.
"""
import fcntl
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from listen import Listener
from seam import Lab, Seam


@pytest.fixture(scope="module")
def lab(request):
    # Short: it holds UNIX sockets.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bfl-", dir="/tmp"))
    lab = Lab(directory)
    if getattr(request.module, "LISTEN", False):
        lab.listener = Listener(directory)
    lab.up()
    yield lab
    lab.stop()
    subprocess.run(["umount", "-q", str(directory / "pool-small")], check=False)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def tcg():
    """Guests that run take a whole core each: one at a time on a machine."""
    with open("/tmp/tcg.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def seam(lab):
    with Seam(lab) as seam:
        seam.open_lab()
        yield seam
    lab.clean()
