# SPDX-License-Identifier: Apache-2.0
"""The rows of `bench` on conversions: ours against virt-v2v-in-place, in turn on fresh clones, each with the
appliance's start and the inspection."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/guest"))
import disks  # noqa: E402  pylint: disable=wrong-import-position

CACHE = pathlib.Path(os.environ.get("BLOCKFERRY_CACHE", "/var/cache/blockferry-lab")) / "appliance"
MAC = "52:54:00:aa:bb:01"
WINDOWS = ("2012r2", "2016", "2022")
BY_LAUNCH = "the appliance's start, which is most of ours and the same for both"


class ConversionRows:
    """Part of Bench, which has the rest."""

    def conversion_command(self, mode, *options):
        work = pathlib.Path(self.path("w"))
        work.mkdir(exist_ok=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        return [TOP / "build/gcc/tests/guest/convert-disks", "--work", work, "--cache", CACHE, "--mode", mode,
                "--format", "qcow2", "--mac", MAC, *options]

    def converted(self, images, mode, *options, may_fail=False):
        """One conversion of fresh clones; work is all that comes after the appliance's start."""
        clones = []
        for number, image in enumerate(images):
            clones.append(pathlib.Path(self.path(f"{mode}{number}.qcow2")))
            clones[-1].unlink(missing_ok=True)
            disks.overlay(clones[-1], image)
        began, launched = time.monotonic(), None
        child = subprocess.Popen([*self.conversion_command(mode, *options), *clones], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True,
                                 env={**os.environ, "BLOCKFERRY_LIBEXEC": str(TOP / "build/gcc/guest")})
        for line in child.stderr:
            if launched is None and ("Inspecting" in line or "Converting" in line):
                launched = time.monotonic()
        report, ended = json.loads(child.stdout.read()), time.monotonic()
        child.wait()
        if "error" in report and not may_fail:
            raise SystemExit(f"{mode}: {report['error']['message']}")
        return {"wall": ended - began, "work": ended - (launched or began),
                "clusters": sum(disks.changed_clusters(clone) for clone in clones)}

    def warm_up(self):
        """The first of all builds the appliance."""
        blank = self.path("blank.raw")
        disks.blank(blank)
        self.converted([blank], "fast", may_fail=True)

    def add_conversion(self, what, runs, goal, linux):
        """A row of wall time; of the fast way for Linux one each of what else has a goal.
        Runs: (ours, virt-v2v's)."""
        ours, theirs = runs
        spread = sorted(a["wall"] / b["wall"] for a, b in zip(ours, theirs))
        ratio = statistics.median(r["wall"] for r in ours) / statistics.median(r["wall"] for r in theirs)
        line = {"workload": f"conversion: {what}", "pairs": len(ours), "cpu": "-", "memory": "-"}
        seconds = [f"{statistics.median(run['wall'] for run in one):.1f} s" for one in runs]
        self.add({**line, "against": "virt-v2v-in-place",
                  "wall": f"{ratio:.2f} ({spread[0]:.2f}-{spread[-1]:.2f}) goal {goal}; "
                          f"{seconds[0]} against {seconds[1]}",
                  "verdict": "met" if ratio <= goal else "missed: wall", "bound": BY_LAUNCH})
        if not linux:
            return
        worst = max(run["work"] for run in ours)
        self.add({**line, "against": "10 s of work after the appliance's start", "wall": f"worst {worst:.1f} s",
                  "verdict": "met" if worst <= 10 else "missed: work", "bound": "emulation"})
        most, other = (max(run["clusters"] for run in one) for one in runs)
        self.add({**line, "against": "64 changed blocks of 64 KiB", "wall": f"{most} blocks; virt-v2v {other}",
                  "verdict": "met" if most <= 64 else "missed: blocks", "bound": "what is written"})

    def guest_row(self, name, what, pairs):
        """A guest of tests/lab/images; a pair takes minutes."""
        first = pathlib.Path(subprocess.run([TOP / "tests/lab/images", "get", name], check=True, text=True,
                                            stdout=subprocess.PIPE).stdout.strip())
        second = first.with_name(first.name + "-2")
        images = [first, *([second] if second.exists() else [])]
        options = ["--uefi"] if len(images) > 1 else []
        runs = [], []
        self.warm_up()
        for _ in range(min(pairs, self.pairs)):
            runs[0].append(self.converted(images, "fast", *options))
            runs[1].append(self.converted(images, "v2v", *options))
        self.add_conversion(what, runs, 0.2, linux=True)

    def row_conversion(self):
        self.guest_row("debian", "Debian 12, BIOS, ext4", 3)

    def row_conversion_lvm(self):
        self.guest_row("lvm", "Debian 12, UEFI, LVM over two disks, XFS", 1)

    def row_conversion_dracut(self):
        self.guest_row("dracut", "Debian 12, dracut, btrfs", 1)

    def row_conversion_windows(self):
        """Disks that are recognised as Windows; none was ever started."""
        self.warm_up()
        drivers, runs = self.path("drivers"), ([], [])
        disks.virtio_win(drivers)
        images = [pathlib.Path(self.path(f"windows-{version}.raw")) for version in WINDOWS]
        for version, image in zip(WINDOWS, images):
            disks.windows(image, version=version)
        for image in images * min(2, self.pairs):
            for mode, list_of in zip(("windows", "v2v"), runs):
                list_of.append(self.converted([image], mode, "--virtio-win", drivers))
        self.add_conversion("synthetic Windows Server 2012 R2, 2016 and 2022", runs, 0.6, linux=False)

    def row_needless(self):
        """At a cutover, with a plan that says so; a start of the program included."""
        plan = pathlib.Path(self.path("none.json"))
        plan.write_text(json.dumps({"version": 1, "method": "none", "os": {"product": "Linux"}}), encoding="utf-8")
        times = []
        for _ in range(9):
            began = time.monotonic()
            subprocess.run([*self.conversion_command("auto", "--plan", plan), "/nonexistent/disk"], check=True,
                           stdout=subprocess.DEVNULL)
            times.append((time.monotonic() - began) * 1000)
        times.sort()
        self.add({"workload": "conversion: nothing to do, by the stored plan", "against": "200 ms",
                  "pairs": len(times), "wall": f"{times[4]:.1f} ms ({times[0]:.1f}-{times[-1]:.1f})", "cpu": "-",
                  "memory": "-", "verdict": "met" if times[4] <= 200 else "missed: wall", "bound": "-"})
