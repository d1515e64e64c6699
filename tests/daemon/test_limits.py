# SPDX-License-Identifier: Apache-2.0
"""Rate limits of the service, a platform and a replication, with real copies: shared fairly, used
up, changed while copies run."""
import time

import pytest

import ferry
from ferry import ApiError

MIB = 1 << 20
NAMES = ["one", "two", "three"]
# From the verb to the first byte and from the last to the job's end.
AROUND_S = 4


@pytest.fixture(scope="module")
def world():
    one = ferry.World(two_labs=True)
    for name in NAMES:
        one.source.machine(name, sizes=("64M",))
        one.replicate(name)
    yield one
    one.close()


@pytest.fixture(autouse=True)
def no_limits(world):
    yield
    set_limits(world)
    for which in ("src", "dst"):
        set_limits(world, scope="platform", name=which)
    for name in NAMES:
        set_limits(world, scope="replication", name=name)


def set_limits(world, *limits, **scope):
    return world.daemon.call("PATCH", "/limits", {"scope": "service", **scope, "limits": list(limits)})


def limits_of(world, scope="service"):
    return next(one for one in world.daemon.get("/limits")["limits"] if one["scope"] == scope)


def run_rounds(world, sizes, pattern, during=None):
    """Rounds of so many MiB beside each other; seconds each took."""
    for name, size in sizes.items():
        world.source.write(name, 0, size * MIB, pattern)
    begin = time.monotonic()
    jobs = {name: world.daemon.verb(name, "sync")["job"] for name in sizes}
    if during:
        during()
    ended = {}
    while len(ended) < len(jobs):
        for name, job in jobs.items():
            one = next(j for j in world.daemon.list(name, "jobs") if j["id"] == job)
            if name not in ended and one["ended_at"]:
                assert one["state"] == "done", one
                ended[name] = time.monotonic() - begin
        assert time.monotonic() - begin < 240
        time.sleep(0.1)
    return ended


def test_what_one_leaves_the_others_get(world):
    """6, 24 and 24 MiB at 6 MiB/s: thirds until the small one is done at 3 s, then halves.  All of
    the limit is used to the end, 9 s in all; without handing on it would be 12 s."""
    set_limits(world, {"rate": "6M"})
    seen = []

    def look():
        world.daemon.wait_until(lambda: limits_of(world)["copies"] == 3, 30, "three copies")
        time.sleep(1)  # until each has told its rate
        for _ in range(12):  # each copy tells its rate twice a second
            time.sleep(0.25)
            seen.append(limits_of(world))

    took = run_rounds(world, {"one": 6, "two": 24, "three": 24}, 0x21, look)
    assert 8 < max(took.values()) < 9 + AROUND_S - 1.5, took
    assert 2 < took["one"] < 3 + AROUND_S, took
    assert all(one["limit_now"] == 6 * MIB and one["copies"] >= 2 for one in seen), seen
    used = sum(one["used"] for one in seen) / len(seen)
    assert 0.8 * 6 * MIB < used < 1.2 * 6 * MIB, seen
    assert limits_of(world)["copies"] == 0


@pytest.mark.parametrize("which", ["src", "dst"])
def test_limit_of_a_platform(world, which):
    set_limits(world, {"rate": "4M"}, scope="platform", name=which)
    took = run_rounds(world, {"one": 8, "two": 8}, 0x31 if which == "src" else 0x32)
    assert 3.5 < max(took.values()) < 4 + AROUND_S, took


def test_limit_of_a_replication_leaves_the_rest_to_others(world):
    set_limits(world, {"rate": "1M"}, scope="replication", name="one")
    set_limits(world, {"rate": "5M"})
    took = run_rounds(world, {"one": 6, "two": 16}, 0x41)
    assert 5.5 < took["one"] < 6 + AROUND_S, took
    assert 3.5 < took["two"] < 4 + AROUND_S, took


def test_changed_while_copies_run(world):
    set_limits(world, {"rate": "100K"})

    def lift():
        time.sleep(2)
        set_limits(world)

    took = run_rounds(world, {"one": 16}, 0x51, lift)  # 160 s at that rate
    assert took["one"] < 2 + AROUND_S + 4, took


def test_a_window_that_is_not_now(world):
    # A day that is neither today nor, around midnight, tomorrow.
    day = time.strftime("%a", time.localtime(time.time() + 3 * 24 * 3600))
    set_limits(world, {"rate": "100K", "windows": [day]})
    assert limits_of(world)["limit_now"] is None
    took = run_rounds(world, {"one": 8}, 0x61)
    assert took["one"] < AROUND_S + 4, took


def test_limits_outlive_a_restart(world):
    limits = [{"rate": "2M", "windows": ["Mon-Fri 08:00-18:00"]}, {"rate": "9M"}]
    set_limits(world, *limits, scope="platform", name="src")
    world.daemon.stop()
    world.daemon.start()
    one = limits_of(world, "platform")
    assert one["name"] == "src" and [limit["rate"] for limit in one["limits"]] == [str(2 * MIB), str(9 * MIB)]
    assert one["limit_now"] in (2 * MIB, 9 * MIB)


@pytest.mark.parametrize("body, code", [
    ({"scope": "planet", "limits": []}, "bad-input"), ({"scope": "platform", "limits": []}, "bad-input"),
    ({"scope": "platform", "name": "none", "limits": []}, "no-such-platform"),
    ({"scope": "replication", "name": "none", "limits": []}, "no-such-replication"),
    ({"scope": "service", "limits": [{"rate": "fast"}]}, "bad-input"),
    ({"scope": "service", "limits": [{"rate": "10"}]}, "bad-input"),
    ({"scope": "service", "limits": [{"rate": "5M", "windows": ["Someday"]}]}, "bad-input"),
    ({"scope": "service", "limits": [{"speed": "5M"}]}, "bad-json"),
    ({"scope": "service", "limits": {}}, "bad-json"), ({"scope": "service"}, "bad-json")])
def test_bad_limits(world, body, code):
    with pytest.raises(ApiError) as refused:
        world.daemon.call("PATCH", "/limits", body)
    assert refused.value.code == code
