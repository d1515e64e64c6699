# SPDX-License-Identifier: Apache-2.0
"""Progress, rate limits, the command line and its manual."""
import json
import os
import re
import subprocess
import time

import pytest

from conftest import COPY, MIB, SLOW, WRAP, end_copy, make_dirty, make_disk, run_copy, same, start_copy

MANUAL = os.path.join(os.path.dirname(__file__), "../../docs/blockferry-copy.1")


def test_progress_lines(work):
    source = make_disk(work / "source", 16 * MIB)
    result = run_copy("--rate", "4M", source, work / "t")
    done = result.done
    names = [e["event"] for e in result.events]
    assert names[0] == "start" and names[-1] == "done" and set(names[1:-1]) == {"progress"}
    start = result.events[0]
    assert start["size"] == 16 * MIB and start["to_send"] > 0 and start["map_extents"] > 10 and start["map_ms"] >= 0
    steps = [e for e in result.events if e["event"] == "progress"]
    assert len(steps) >= done["seconds"] / 0.5, "less often than twice a second"
    for a, b in zip(steps, steps[1:]):
        assert a["done"] <= b["done"] and a["sent"] <= b["sent"]
    assert steps[-1]["done"] == start["to_send"] and steps[-1]["eta_s"] == 0
    middle = steps[len(steps) // 2]
    assert 2 * MIB < middle["rate"] < 6 * MIB
    assert isinstance(middle["eta_s"], int)
    assert middle["eta_min_s"] <= middle["eta_s"] <= middle["eta_max_s"] <= 16
    assert steps[0]["eta_max_s"] is None, "nothing is known yet"
    assert done["sent"] + done["zero"] == 16 * MIB
    assert re.fullmatch("[0-9a-f]{32}", done["digest"])


def test_delta_without_digest_has_no_root(work):
    source = make_disk(work / "source", MIB)
    with open(work / "map", "w") as f:
        f.write('{"offset":0,"length":65536}\n')
    assert run_copy("--map", work / "map", source, work / "t").done["digest"] is None


def test_bar(work):
    result = run_copy(make_disk(work / "source", MIB), work / "t", progress="bar")
    assert result.code == 0 and "100.0 %" in result.stderr and not result.events


def test_print_map(work):
    source = work / "source"
    with open(source, "wb") as f:
        f.truncate(MIB)
        f.seek(65536)
        f.write(b"x" * 65536)
    out = subprocess.run([*WRAP, COPY, "--print-map", source], check=True, capture_output=True, text=True).stdout
    assert [json.loads(line) for line in out.splitlines()] == [
        {"offset": 0, "length": 65536, "type": "zero"},
        {"offset": 65536, "length": 65536, "type": "data"},
        {"offset": 131072, "length": MIB - 131072, "type": "zero"}]
    with open(work / "map", "w") as f:
        f.write(out)
    run_copy("--map", work / "map", source, work / "t").done
    assert same(source, work / "t")


@pytest.mark.parametrize("rate", [10_000_000, 60_000_000])
def test_rate(work, rate):
    """Within 2 % over the run and 5 % in each second, seen by what is done (with some room for a busy machine)."""
    seconds = 4
    source = make_dirty(work / "source", rate * seconds)
    result = run_copy("--rate", rate, source, "null:")
    mean = rate * seconds / result.done["seconds"]
    assert 0.95 * rate < mean < 1.03 * rate + 0.1 * rate / seconds, mean


def test_rate_is_changed_live(work):
    source = make_dirty(work / "source", 40 * MIB)
    process = start_copy("--rate", "2M", source, work / "t", stdin=subprocess.PIPE)
    time.sleep(1)
    start = time.monotonic()
    process.stdin.write("rate 8")
    process.stdin.flush()
    time.sleep(0.2)
    process.stdin.write("M\nnonsense\nrate 20M\n")
    process.stdin.flush()
    result = end_copy(process)
    assert result.code == 0
    assert 1 < time.monotonic() - start < 3.5 * SLOW
    assert "nonsense" in result.stderr
    process = start_copy("--rate", "1M", source, work / "t", stdin=subprocess.PIPE)
    process.stdin.write("rate 0\n")
    process.stdin.close()  # its end is not an error
    process.stdin = None
    start = time.monotonic()
    assert end_copy(process).code == 0
    assert time.monotonic() - start < 3 * SLOW


def test_endless_control_line(work):
    process = start_copy("--rate", "4M", make_dirty(work / "source", 4 * MIB), work / "t", stdin=subprocess.PIPE)
    process.stdin.write("x" * 10000 + "\nrate 0\n")
    process.stdin.flush()
    assert end_copy(process).code == 0


@pytest.mark.parametrize("args", [[], ["a"], ["a", "b", "c"], ["--nonsense", "a", "b"], ["--rate", "x", "a", "b"]])
def test_usage_errors(args):
    process = subprocess.run([*WRAP, COPY, *args], capture_output=True, text=True, check=False,
                             stdin=subprocess.DEVNULL)
    # The exit code of kind INPUT, as the manual lists it.
    assert f".It {process.returncode}\n" in manual()
    assert process.returncode == 2
    assert process.stderr


def manual():
    with open(MANUAL, encoding="utf-8") as f:
        return f.read()


def test_manual_and_help_agree():
    text = subprocess.run([*WRAP, COPY, "--help"], check=True, capture_output=True, text=True).stdout
    in_help = {}
    for name, rest in re.findall(r"^  (?:-\w, )?--([a-z0-9-]+)(.*)$", text, re.M):
        match = re.match(r" (\S+)  ", rest + "  ")
        in_help[name] = match.group(1) if match and not rest.startswith("  ") else ""
    in_manual = {}
    for line in re.findall(r"^\.It (?:Fl \w , )?Fl Fl (.*)$", manual(), re.M):
        name, _, argument = line.partition(" Ar ")
        in_manual[name.strip()] = argument.strip().replace(" Ns ", "").replace(" | ", "|")
    assert in_help and in_help == in_manual


def test_manual_is_well_formed():
    result = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", MANUAL], capture_output=True, text=True,
                            check=False)
    assert result.returncode == 0, result.stdout


def test_version():
    out = subprocess.run([*WRAP, COPY, "--version"], check=True, capture_output=True, text=True).stdout
    assert re.fullmatch(r"blockferry-copy \d+\.\d+\.\d+\n", out)
