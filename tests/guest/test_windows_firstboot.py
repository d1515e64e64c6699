# SPDX-License-Identifier: Apache-2.0
"""firstboot.exe as a service, under Wine: the nearest to a Windows that can be had here.  Wine has no
pnputil and an empty netsh; what is shown is the service, its steps, limits, and how it goes."""
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

SERVICE = "blockferry-firstboot"


@pytest.fixture
def wine(tmp_path):
    prefix = tmp_path / "wine"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "WINEPREFIX": str(prefix),
                   "WINEDEBUG": "-all", "DISPLAY": ""}

    def run(*argv, check=True):
        return subprocess.run([os.environ["WINE"], *argv], env=environment, check=check, text=True,
                              timeout=180, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    run("wineboot.exe", "--init", check=False)
    run.windows = prefix / "drive_c/windows"
    yield run
    run("wineboot.exe", "--kill", check=False)


def any_mac():
    """The address of one of this host's interfaces; Wine shows them to its programs."""
    for path in pathlib.Path("/sys/class/net").iterdir():
        mac = (path / "address").read_text().strip()
        if mac and mac != "00:00:00:00:00:00":
            return mac
    return None


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_service_does_its_steps_and_goes(wine):
    mac = any_mac()
    place = wine.windows / "blockferry"
    place.mkdir()
    shutil.copy(os.environ["FIRSTBOOT"], place / "firstboot.exe")
    command = '"%SystemRoot%\\System32\\cmd.exe" /c'
    steps = ["blockferry-firstboot 1", f"run 20 {command} echo the first step",
             f"run 1 {command} pause", "nonsense", f"run 20 {command} exit 7"]
    if mac:
        steps += [f"address {mac.upper()} 10.0.0.5 255.255.255.0", f"dns {mac.upper()} 10.0.0.1"]
    (place / "steps.txt").write_text("\r\n".join(steps) + "\r\n", newline="")
    wine("sc.exe", "create", SERVICE, "binPath=", "C:\\windows\\blockferry\\firstboot.exe",
         "start=", "demand")
    wine("net.exe", "start", SERVICE)
    log = place / "firstboot.log"
    wait_for(lambda: log.exists() and log.read_text().rstrip().endswith("Z done"))
    text = log.read_text()
    assert "\nthe first step" in text and "not done in 1 s: ended" in text
    assert "exit code 7" in text and "nonsense" not in text
    if mac:
        assert re.search(r"ipv4 set address name=\d+ source=static address=10.0.0.5 mask=", text)
        assert re.search(r"ipv4 set dnsservers name=\d+ source=static address=10.0.0.1", text)
    assert not (place / "steps.txt").exists()
    assert wine("net.exe", "start", SERVICE, check=False).find("started successfully") < 0
