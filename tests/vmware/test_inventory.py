# SPDX-License-Identifier: Apache-2.0
"""Machines as the vCenter shows them, thousands of them; sessions; a single ESXi."""
import time

import pytest

from seam import SeamError
from vcenter import VCenter, VMwareSeam

MACHINES = ["web1=16M,24M", "db=8M"]
FLAGS = {"fill": 2000}


def test_one_machine(vc, seam):
    one = seam.call("machine", machine="web1")["machine"]
    assert one["id"] == vc.moref("web1") and one["power"] == "on"
    assert (one["cpus"], one["memory_bytes"], one["firmware"]) == (2, 512 << 20, "bios")
    assert [(d["key"], d["bus"], d["size_bytes"]) for d in one["disks"]] == [
        ("2000", "scsi", 16 << 20), ("2001", "scsi", 24 << 20)]
    assert all(d["identity"].startswith("6000C29") for d in one["disks"])
    assert one["nics"][0]["model"] == "vmxnet3" and one["nics"][0]["mac"]
    assert seam.call("machine", machine=one["id"])["machine"] == one


def test_thousands_in_seconds(vc, seam):
    """All of 2,002 machines with disks and nics; the memory of the program stays bounded."""
    begin = time.monotonic()
    machines = seam.call("machines")["machines"]
    seconds = time.monotonic() - begin
    with open(f"/proc/{seam.process.pid}/status", encoding="ascii") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(f"{len(machines)} machines in {seconds:.2f} s, peak {peak / 1024:.0f} MiB")
    assert len(machines) == 2002 and len({m["id"] for m in machines}) == 2002
    assert seconds < 5
    # The answers come in batches; most of this is the test program's own list of them as JSON.
    assert peak < 100 << 10


def test_names(vc, seam):
    with pytest.raises(SeamError) as missing:
        seam.call("machine", machine="no & <such>")
    assert missing.value.code == "no-such-machine"


def test_resources(vc, seam):
    answer = seam.call("resources")["resources"]
    assert "LocalDS_0" in [s["name"] for s in answer["storages"]]
    assert "VM Network" in [n["name"] for n in answer["networks"]]


def test_a_machine_that_goes_while_listed(vc, seam):
    """A fault for one of a batch is not the end of the listing."""
    vc.trouble("RetrievePropertiesEx", "soap", fault="ManagedObjectNotFound", after=3)
    machines = seam.call("machines")["machines"]
    assert len(machines) == 2002


def test_wrong_password(vc, seam):
    with pytest.raises(SeamError) as refused:
        seam.open(p="other", password="wrong")
    assert refused.value.code == "platform-auth"
    assert "wrong" not in str(refused.value.error)


def test_untrusted_certificate(vc, seam):
    options = {k: v for k, v in vc.options.items() if k != "ca_file"}
    pin = "A" * 43 + "="
    for more in ({}, {"fingerprint": pin}):
        with pytest.raises(SeamError) as refused:
            seam.call("open", p="other", type="vmware", url=vc.url, user="u", password="p",
                      work=str(seam.work), options={**options, **more})
        assert refused.value.code == "tls"
        # What to compare, and what to pin.
        assert vc.read("tls/thumbprint") in refused.value.error["evidence"]
        assert f"fingerprint={vc.read('tls/fingerprint')}" in refused.value.error["evidence"]


@pytest.mark.parametrize("url, options, word", [
    ("http://vc", {}, "https"), ("https://u:p@vc", {}, "user and password"),
    ("https://vc/other", {}, "no path"), ("https://vc:0", {}, "port"),
    ("https://vc", {"colour": "red"}, "colour"), ("https://vc", {"read_path": "x"}, "read_path"),
    ("https://vc", {"trust_cbt": "maybe"}, "trust_cbt"),
    ("https://vc", {"library_directory": "here"}, "absolute"),
    ("https://vc", {"thumbprint": "12"}, "SHA-1")])
def test_bad_settings(vc, seam, url, options, word):
    with pytest.raises(SeamError) as refused:
        seam.call("open", p="other", type="vmware", url=url, user="u", password="p",
                  work=str(seam.work), options=options)
    assert refused.value.code in ("bad-input", "bad-json") and word in refused.value.message


def test_session_that_was_terminated(vc, seam):
    for do in ("info", "machines", "resources"):
        vc.control(kill_session=True)
        before = vc.control()["calls"]["Login"]
        seam.call(do)
        assert vc.control()["calls"]["Login"] == before + 1


def test_logs_out(vc, seam):
    before = vc.control()["calls"].get("Logout", 0)
    seam.open(p="other")
    seam.call("close", p="other")
    assert vc.control()["calls"]["Logout"] == before + 1


def test_power(vc, seam):
    machine = vc.moref("db")
    for _ in range(2):
        seam.call("power_off", machine=machine)
        assert seam.call("power", machine=machine)["power"] == "off"
    for _ in range(2):
        seam.call("power_on", machine=machine)
        assert seam.call("power", machine=machine)["power"] == "on"
    seam.call("shut_down", machine=machine, ms=5000)
    seam.call("shut_down", machine=machine, ms=5000)
    assert seam.call("power", machine=machine)["power"] == "off"
    seam.call("power_on", machine=machine)
    vc.trouble("ShutdownGuest", "soap", fault="ToolsUnavailable")
    with pytest.raises(SeamError) as refused:
        seam.call("shut_down", machine=machine, ms=1000)
    assert refused.value.code == "shutdown-refused"
    vc.trouble("ShutdownGuest", "ignored")
    begin = time.monotonic()
    with pytest.raises(SeamError) as refused:
        seam.call("shut_down", machine=machine, ms=1200)
    assert refused.value.code == "shutdown-refused" and "still running" in refused.value.message
    assert 1 < time.monotonic() - begin < 4
    assert seam.call("power", machine=machine)["power"] == "on"


def test_a_single_esxi():
    host = VCenter("one=8M", esx=True)
    try:
        host.up()
        with VMwareSeam(host) as seam:
            seam.open()
            assert "ESXi" in seam.call("info")["version"]
            assert [m["name"] for m in seam.call("machines")["machines"]] == ["one"]
            seam.call("close")
    finally:
        host.close()
