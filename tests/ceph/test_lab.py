# SPDX-License-Identifier: Apache-2.0
"""The lab itself."""
import os

import pytest

from cluster import MIB, Lab


@pytest.mark.timeout(300)
def test_another_cluster_beside_it(ceph):
    """Comes up, knows nothing of the first, keeps its data over a stop, leaves nothing."""
    lab = Lab()
    try:
        assert lab.run("up") == lab.conf == lab.run("conf")
        first, second = ceph.lab.run("pids"), lab.run("pids")
        assert len(second.splitlines()) == 3 and not set(first.splitlines()) & set(second.splitlines())
        image = ceph.new(MIB)
        assert lab.run("exec", "rbd", "ls", "volumes") == ""
        lab.run("exec", "rbd", "create", "--size", "1M", "volumes/kept")
        lab.run("stop")
        assert lab.run("pids") == ""
        assert ceph.lab.run("pids") == first
        lab.run("up")
        assert lab.run("exec", "rbd", "ls", "volumes") == "kept"
        assert lab.run("exec", "ceph", "health") == "HEALTH_OK"
        assert ceph.objects(image) == []
    finally:
        lab.destroy()
    assert not os.path.exists(lab.directory) and lab.run("pids") == ""
