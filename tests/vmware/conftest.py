# SPDX-License-Identifier: Apache-2.0
"""A vCenter for a whole file of tests; each test has the seam program for itself.

The environment says where the built programs are: SEAM, BLOCKFERRY_COPY, VDDK_STANDIN (a
stand-in for VMware's library), and BLOCKFERRYD for the tests of the service.
"""
import pytest

from guest import Guest
from vcenter import VCenter, VMwareSeam


@pytest.fixture(scope="module")
def vc(request):
    vcenter = VCenter(*getattr(request.module, "MACHINES", ["web1=16M,24M"]),
                      **getattr(request.module, "FLAGS", {}))
    vcenter.up()
    yield vcenter
    vcenter.close()


@pytest.fixture(scope="module")
def guest(vc):
    """What runs in the mover of FLAGS = {"mover": 1}."""
    one = Guest(vc)
    yield one
    one.stop()


@pytest.fixture
def seam(vc):
    with VMwareSeam(vc) as seam:
        seam.open()
        yield seam
        seam.call("close")
