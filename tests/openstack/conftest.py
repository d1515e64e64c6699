# SPDX-License-Identifier: Apache-2.0
"""One cloud for all tests of a run; BLOCKFERRY_CLOUD=DIR takes one that runs already, and leaves it."""
import os

import pytest

from cloud import CloudLab


@pytest.fixture(scope="session")
def cloud():
    lab = CloudLab(os.environ.get("BLOCKFERRY_CLOUD"))
    yield lab
    lab.close()


@pytest.fixture
def source(cloud):
    project = cloud.project("source")
    yield project
    project.clean()


@pytest.fixture
def target(cloud):
    project = cloud.project("target")
    yield project
    project.clean()
