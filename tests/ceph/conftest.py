# SPDX-License-Identifier: Apache-2.0
"""One cluster for all tests of a run."""
import pytest

from cluster import Cluster, engine

work = engine.work


@pytest.fixture(scope="session")
def ceph():
    cluster = Cluster()
    yield cluster
    cluster.close()
