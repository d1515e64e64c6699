# SPDX-License-Identifier: Apache-2.0
"""Two movers: one that reads, and after it one that writes; both in a network of this process alone."""
import os
import random
import shutil
import tempfile

import pytest

import mover

MIB = 1 << 20


@pytest.fixture(scope="session")
def network():
    mover.private_network()


@pytest.fixture
def work():
    directory = tempfile.mkdtemp(prefix="bf-mover.", dir="/var/tmp")
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def disk(work):
    """Makes raw files of pseudo-random data; disk(name, mib, seed) returns the path."""
    def make(name, mib=16, seed=1):
        path = os.path.join(work, name)
        with open(path, "wb") as file:
            file.write(random.Random(seed).randbytes(mib * MIB) if seed else bytes(mib * MIB))
        return path
    return make


@pytest.fixture
def run_mover(network, work):
    """run_mover(options...): builds an image, starts it, waits until it serves; returns it and its certificates."""
    started = []

    def run(*options):
        image, certificates = os.path.join(work, "mover.raw"), os.path.join(work, "certificates")
        mover.build(image, certificates, "--network", f"{mover.ADDRESS}/24", *options)
        machine = mover.Mover(work, image)
        started.append(machine)
        machine.mark = machine.ready()
        return machine, certificates

    yield run
    for machine in started:
        machine.stop()
