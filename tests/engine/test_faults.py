# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a copy: servers that die, stall, lie and fail; targets that are full."""
import errno
import os
import pathlib
import random
import resource
import signal
import subprocess
import time

import pytest

from conftest import KIB, MIB, SLOW, end_copy, make_dirty, make_disk, qemu_img, run_copy, same, start_copy, wait_done
from hostile import ChangingServer, ForgetfulServer, HostileServer, Proxy

HOOKED = os.environ.get("BLOCKFERRY_COPY_HOOKED")


@pytest.fixture
def hostile(work):
    servers = []

    def start(breach, **kwargs):
        servers.append(HostileServer(work / f"h{len(servers)}", breach, **kwargs))
        return servers[-1]
    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def proxy(work):
    proxies = []

    def start(server, **kwargs):
        proxies.append(Proxy(work / f"p{len(proxies)}", server.socket, **kwargs))
        return proxies[-1]
    yield start
    for each in proxies:
        each.stop()


def test_hostile_server_can_behave(work, hostile):
    """Otherwise the tests below would prove nothing."""
    run_copy(hostile("").uri, work / "t").done
    assert os.path.getsize(work / "t") == 1 << 20


@pytest.mark.parametrize("breach, code", [
    ("empty", "protocol"), ("none", "protocol"), ("huge", "protocol"), ("odd", "protocol"),
    ("context", "protocol"), ("status-error", "change-map"),
    ("handle", "protocol"), ("magic", "protocol"), ("structured", "protocol"), ("twice", "protocol"),
    ("endless", "protocol"),
    ("resize", "protocol"), ("size", "endpoint-open"),
    ("error", "read-error"), ("shutdown", "endpoint-open"),
])
def test_breach_of_protocol(work, hostile, breach, code):
    result = run_copy("--reconnect", "2", "--deadline", "5", hostile(breach).uri, work / "t")
    assert result.error["code"] == code


def test_map_that_goes_on(work, hostile):
    """More than one request asks for, and so room for it."""
    result = run_copy(hostile("beyond", size=8 << 30).uri, work / "t")
    assert result.error["code"] == "protocol"
    assert "behind what was asked" in result.error["message"]


def test_oversized_replies(work, hostile):
    """What is beyond the request is taken for the next reply, which it is not: the connection is given up."""
    server = hostile("oversized", size=4 << 20)
    run_copy("--reconnect", "20", server.uri, make_dirty(work / "t", 4 << 20)).done
    assert server.connections > 4, "the breach was not noticed"
    with open(work / "t", "rb") as f:
        assert not any(f.read())


def test_map_of_single_bytes(work, hostile):
    done = run_copy(hostile("many", size=3 * KIB).uri, work / "t").done
    assert done["size"] == 3 * KIB


@pytest.mark.parametrize("breach", ["silent", "short"])
def test_server_that_stops_answering(work, hostile, breach):
    start = time.monotonic()
    result = run_copy("--deadline", "1", "--reconnect", "4", hostile(breach).uri, work / "t")
    assert result.error["code"] == "deadline"
    assert time.monotonic() - start < 9 * SLOW


def test_silent_listener(work):
    """Accepts and says nothing: the handshake, too, has its deadline."""
    import socket
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(work / "s")
    listener.listen()
    start = time.monotonic()
    assert run_copy("--deadline", "1", f"nbd+unix:///?socket={work / 's'}", work / "t").error["code"] == "deadline"
    assert time.monotonic() - start < 4 * SLOW
    listener.close()


# Rates at which every copy meets some errors, and by which three tries in a row fail in less than one
# run of a thousand.
def test_source_errors_that_go_away(work):
    source = make_disk(work / "source", 24 * MIB)
    server = work.nbdkit("--filter=error", "file", source, "error-pread=EIO", "error-pread-rate=3%")
    run_copy("--request-size", "64K", server.uri, work / "t").done
    assert same(source, work / "t")


def test_target_errors_that_go_away(work):
    source = make_disk(work / "source", 16 * MIB)
    target = make_dirty(work / "target", 16 * MIB)
    into = work.nbdkit("--filter=error", "file", target, "error-pwrite=EIO", "error-pwrite-rate=1%", "error-zero=EIO",
                       "error-zero-rate=1%")
    run_copy("--request-size", "64K", source, into.uri).done
    assert same(source, target)


BAD_READS = """
case "$1" in
  get_size) echo 8388608;;
  pread) if [ $4 -lt $((BAD_END)) ] && [ $(($4 + $3)) -gt $((BAD)) ]; then echo EIO bad block >&2; exit 1; fi
         dd if=/dev/urandom bs=$3 count=1 iflag=fullblock status=none;;
  can_multi_conn) exit 0;;
  *) exit 2;;
esac
"""


@pytest.mark.parametrize("bad, end", [(3 * MIB + 8192, 3 * MIB + 20480), (0, 4096), (8 * MIB - 4096, 8 * MIB)])
def test_bad_range_is_named(work, bad, end):
    script = work / "script"
    with open(script, "w") as f:
        f.write("#!/bin/bash\n" + BAD_READS.replace("BAD_END", str(end)).replace("BAD", str(bad)))
    os.chmod(script, 0o755)
    server = work.nbdkit("sh", script)
    error = run_copy(server.uri, work / "t").error
    assert error["code"] == "read-error"
    assert f"bytes {bad} to {end}" in error["message"]


def test_permanent_write_error(work):
    source = make_disk(work / "source", 4 * MIB)
    into = work.nbdkit("--filter=error", "memory", "4M", "error-pwrite=EIO", "error-pwrite-rate=100%")
    assert run_copy(source, into.uri).error["code"] == "write-error"


def scripted(work, size, cases):
    """A server of a shell script's cases; what it keeps is nothing.  Its URI."""
    script = pathlib.Path(work / "script")
    script.write_text(f"""#!/bin/bash
case "$1" in
  get_size) echo {size};;
  pread) head -c $3 /dev/zero;;
{cases}
  *) exit 2;;
esac
""")
    script.chmod(0o755)
    return work.nbdkit("sh", script).uri


def test_flush_error(work):
    """A flush that failed is the end, never a retry."""
    source = make_disk(work / "source", 4 * MIB)
    uri = scripted(work, 4 * MIB, f"""
  pwrite) cat >/dev/null;;
  zero|trim|can_write|can_zero|can_trim|can_flush|can_multi_conn) exit 0;;
  flush) echo x >> {work / 'flushes'}; echo EIO no >&2; exit 1;;""")
    result = run_copy("--journal", work / "j", source, uri)
    assert result.error["code"] == "write-error"
    assert os.path.getsize(work / "flushes") == 2, "it was flushed again after the failure"


def test_target_without_flush(work):
    """Nothing that is written to it can ever be called done."""
    source = make_disk(work / "source", 4 * MIB)
    uri = scripted(work, 4 * MIB, """
  pwrite) cat >/dev/null;;
  can_write) exit 0;;
  can_flush) exit 3;;""")
    assert run_copy(source, uri).error["code"] == "platform-unsupported"
    run_copy(uri, work / "t").done  # as a source it will do


def test_flush_fails_while_the_target_is_full(work):
    """The disk is full and the flush under way fails: the next one succeeds and proves nothing."""
    source = make_dirty(work / "source", 8 * MIB)
    uri = scripted(work, 8 * MIB, f"""
  thread_model) echo parallel;;
  pwrite) cat >/dev/null
    [ $4 -ge {4 * MIB} ] || exit 0
    for i in {{1..100}}; do [ ! -e {work / 'flushing'} ] || break; sleep 0.05; done
    echo ENOSPC full >&2; exit 1;;
  zero|trim|can_write|can_zero|can_trim|can_flush|can_multi_conn) exit 0;;
  flush) [ ! -e {work / 'flushing'} ] || exit 0
    echo x >{work / 'flushing'}; sleep 0.7; echo EIO no >&2; exit 1;;""")
    result = run_copy("--journal", work / "j", "--request-size", "256K", source, uri,
                      program=HOOKED, env={"BLOCKFERRY_FLUSH_BYTES": str(MIB)})
    assert result.error["code"] == "target-full"
    assert os.path.exists(work / "flushing"), "no flush was under way"
    with open(work / "j", encoding="ascii") as journal:
        assert " done " not in journal.read(), "the journal calls done what the server may have lost"


def test_enospc(work):
    os.mkdir(work / "small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", work / "small"], check=True)
    try:
        source = make_dirty(work / "source", 16 * MIB)
        result = run_copy("--journal", work / "j", source, work / "small/t")
        assert result.error["code"] == "target-full"
        assert result.code != 1
        subprocess.run(["mount", "-o", "remount,size=64m", work / "small"], check=True)
        done = run_copy("--journal", work / "j", source, work / "small/t").done
        assert same(source, work / "small/t")
        assert done["read"] < 16 * MIB, "nothing of the first run was kept"
    finally:
        subprocess.run(["umount", work / "small"], check=True)


class Shaky:
    """ext4 on a loop device whose file is sparse and has no room: work/above, on work/below/disk."""

    def __init__(self, work, room, options="loop"):
        self.below, self.above = work / "below", work / "above"
        self.options = options
        self.disk = self.below + "/disk"
        os.mkdir(self.below)
        os.mkdir(self.above)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", self.below], check=True)
        with open(self.disk, "wb") as f:
            f.truncate(64 * MIB)
        # Not even the inode table has blocks of its own below.
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1", self.disk], check=True)
        self.mount()

    def mount(self):
        subprocess.run(["mount", "-o", self.options, self.disk, self.above], check=True)

    def repair(self):
        """As an admin would: more room, a check that plays the journal back, mounted again.

        On a copy: a mount namespace made at the wrong moment keeps the old mount alive."""
        subprocess.run(["umount", self.above], check=True)
        subprocess.run(["mount", "-o", "remount,size=192m", self.below], check=True)
        subprocess.run(["cp", "--sparse=always", self.disk, self.disk + "2"], check=True)
        self.disk += "2"
        assert subprocess.run(["e2fsck", "-f", "-y", self.disk], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode < 4
        self.mount()

    def fill(self):
        try:
            with open(self.below + "/fill", "wb", buffering=0) as f:
                while True:
                    f.write(b"x" * 4096)
        except OSError as error:
            assert error.errno == errno.ENOSPC

    def end(self):
        for directory in (self.above, self.below):
            subprocess.run(["umount", "--lazy", directory], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture
def shaky(work):
    made = []

    def make(*args, **kwargs):
        made.append(Shaky(work, *args, **kwargs))
        return made[-1]
    yield make
    for one in made:
        one.end()


def test_enospc_below_the_file_system(work, shaky):
    """What the journal calls done is there after all, and that is something."""
    source = make_dirty(work / "source", 40 * MIB)
    disk = shaky("24m")
    # A commit for each MiB, so that the journal has something to tell.
    result = run_copy("--journal", work / "j", "--rate", "40M", source, work / "above/t", program=HOOKED,
                      env={"BLOCKFERRY_FLUSH_BYTES": str(MIB)})
    assert result.error["code"] in ("write-error", "target-full")
    disk.repair()
    done = run_copy("--journal", work / "j", source, work / "above/t").done
    assert same(source, work / "above/t")
    assert done["read"] < 40 * MIB, "nothing of the first run was kept"


def test_journal_of_the_file_system_dies_unseen(work, shaky):
    """ext4 fails to commit by itself, between two flushes: the next fdatasync says yes all the same."""
    source = make_dirty(work / "source", 40 * MIB)
    disk = shaky("50m", options="loop,commit=1")
    process = start_copy("--journal", work / "j", "--rate", "4M", source, work / "above/t")
    wait_done(process, 4 * MIB)
    process.send_signal(signal.SIGSTOP)
    disk.fill()
    time.sleep(3)  # ext4 commits each second
    process.send_signal(signal.SIGCONT)
    assert end_copy(process).error["code"] in ("write-error", "target-full")
    os.unlink(disk.below + "/fill")
    disk.repair()
    run_copy("--journal", work / "j", source, work / "above/t").done
    assert same(source, work / "above/t")


@pytest.mark.parametrize("every", [1, 3])
def test_short_transfers(work, every):
    """The kernel may do less than it was asked for."""
    source = make_disk(work / "source", 8 * MIB + 300, grain=1)
    run_copy(source, work / "t", program=HOOKED, env={"BLOCKFERRY_SHORT": str(every)}).done
    assert same(source, work / "t")


def test_limit_of_the_files_size(work):
    """A write up to the limit is short, the next one fails; with more room the copy goes on."""
    source = make_dirty(work / "source", 8 * MIB)
    with open(work / "t", "wb") as f:
        f.truncate(8 * MIB)
    limit = 5 * MIB + 3 * 4096

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    # One after the other: what is beyond the limit fails when all before it is written.
    result = end_copy(start_copy("--journal", work / "j", "--requests", "1", source, work / "t", preexec_fn=limited,
                                 restore_signals=False))
    assert result.error["code"] == "target-full"
    assert same(source, work / "t", limit), "what still fitted was not written"
    run_copy("--journal", work / "j", source, work / "t").done
    assert same(source, work / "t")


def test_enospc_over_nbd(work):
    source = make_dirty(work / "source", 4 * MIB)
    into = work.nbdkit("--filter=error", "memory", "4M", "error-pwrite=ENOSPC", "error-pwrite-rate=100%")
    assert run_copy(source, into.uri).error["code"] == "target-full"


def copy_with_server_faults(work, source_server, target, fault, count, options=(), source_size=0):
    """Run a copy at a limited rate; every now and then call fault()."""
    process = start_copy("--rate", "12M", "--deadline", "2", "--reconnect", str(int(30 * SLOW)), *options,
                         source_server.uri, target)
    dice = random.Random(5)
    try:
        for _ in range(count):
            time.sleep(dice.uniform(0.05, 0.3))
            if process.poll() is not None:
                break
            fault()
    finally:
        result = end_copy(process, 90)
    return result


@pytest.mark.parametrize("kind", ["nbdkit", "qemu-nbd"])
def test_source_server_killed_and_restarted(work, kind):
    source = make_disk(work / "source", 32 * MIB)
    server = work.nbdkit("file", source) if kind == "nbdkit" else work.qemu_nbd(source, "-r")

    def fault():
        server.kill()
        time.sleep(0.1)
        server.start()
    copy_with_server_faults(work, server, work / "t", fault, 8).done
    assert same(source, work / "t")


def test_source_server_lost_while_it_tells_the_map(work, proxy):
    source = make_disk(work / "source", 8 * MIB, step=30000, longest=30000)
    # A connection for data, then the map's: it is cut in its handshake, then within the map.
    between = proxy(work.qemu_nbd(source, "-r"), cut_after=[10 ** 9, 100, 700])
    run_copy(between.uri, work / "t").done
    assert between.cuts == 2
    assert same(source, work / "t")


class Forgetful:
    """A target whose server, when killed, loses all that was not flushed since the last restart: it runs on a
    copy-on-write layer that is thrown away."""

    def __init__(self, work, size):
        self.work = work
        self.disk = make_dirty(work / "disk", size)
        qemu_img("create", "-q", "-f", "qcow2", "-b", self.disk, "-F", "raw", work / "layer.qcow2")
        # Metadata of a qcow2 that is only in the server's memory is lost with the server.
        self.server = work.qemu_nbd(work / "layer.qcow2", "--cache=writeback", fmt="qcow2")
        self.uri = self.server.uri

    def crash(self):
        self.server.kill()
        time.sleep(0.05)
        self.server.start()

    def content(self, path):
        self.server.stop()
        qemu_img("convert", "-f", "qcow2", "-O", "raw", self.work / "layer.qcow2", path)
        return path


@pytest.mark.parametrize("journal", [False, True])
def test_target_server_killed_loses_what_was_not_flushed(work, journal):
    source = make_disk(work / "source", 24 * MIB, step=200000)
    target = Forgetful(work, 24 * MIB)
    server = work.nbdkit("file", source)
    options = ["--journal", work / "j"] if journal else []
    result = copy_with_server_faults(work, server, target.uri, target.crash, 6, options)
    done = result.done
    assert done["sent"] + done["zero"] > 24 * MIB, "nothing was written again"
    assert same(source, target.content(work / "content"))


@pytest.mark.parametrize("journal", [False, True])
def test_target_crashes_after_every_write(work, journal):
    """A sweep over all writes, also those in the middle of a chunk."""
    size = MIB
    dice = random.Random(3)
    with open(work / "source", "wb") as f:
        for _ in range(size // 65536):
            f.write(dice.randbytes(32768) + bytes(32768))
    options = ["--journal", work / "j"] if journal else []
    crash_at, old = 0, dice.randbytes(size)
    while True:
        crash_at += 1
        server = ForgetfulServer(work / f"f{crash_at}", old, crash_at)
        run_copy(*options, "--requests", "1", work / "source", server.uri).done
        server.stop()
        with open(work / "source", "rb") as f:
            assert f.read() == server.stable, f"crash after write {crash_at}"
        if server.crash_at is not None:
            break
    assert crash_at > 20


def test_target_that_crashes_again_and_again(work):
    """What fits between two crashes is flushed, and so there is an end."""
    size = 4 * MIB
    source = make_dirty(work / "source", size)
    server = ForgetfulServer(work / "f", bytes(size), 40, always=True)
    run_copy("--request-size", "64K", source, server.uri, timeout=30).done
    server.stop()
    with open(source, "rb") as f:
        assert f.read() == server.stable


def test_slow_flush(work):
    """A server that has much to write out is not dead."""
    source = make_dirty(work / "source", MIB)
    server = ForgetfulServer(work / "f", bytes(MIB), None, flush_s=2.5)
    run_copy("--deadline", "1", source, server.uri).done
    server.stop()
    assert server.connections == 1, "it was given up"
    with open(source, "rb") as f:
        assert f.read() == server.stable


def test_target_forgets_what_a_compare_found(work):
    """Half of what it shows was written by somebody before and never flushed: zeroes, and data."""
    size = MIB // 2
    dice = random.Random(4)
    data, old = dice.randbytes(size // 2), dice.randbytes(size)
    content = data + bytes(size // 2)
    with open(work / "source", "wb") as f:
        f.write(data)
        f.truncate(size)  # a hole: what is zero on both sides is not even looked at
    unflushed = old[:65536] + content[65536:]
    for crash_at in (1, 2):
        server = ForgetfulServer(work / f"f{crash_at}", old, crash_at, unflushed)
        run_copy("--compare", "--request-size", "64K", "--requests", "1", work / "source", server.uri).done
        server.stop()
        assert server.stable == content, f"crash after write {crash_at}"


def test_target_and_copy_killed_together(work):
    """As a power cut takes both: the journal must not tell of what the target has forgotten."""
    size = 24 * MIB
    source = make_disk(work / "source", size, step=200000)
    target = Forgetful(work, size)
    dice = random.Random(8)
    args = ["--journal", work / "j", "--rate", "8M", source, target.uri]
    for _ in range(5):
        process = start_copy(*args)
        time.sleep(dice.uniform(0.3, 3) * (1 + SLOW) / 2)
        process.kill()
        target.crash()
        if end_copy(process).code == 0:
            break
    else:
        run_copy("--rate", "0", *args).done
    assert same(source, target.content(work / "content"))


@pytest.mark.parametrize("end", ["source", "target"])
def test_stopped_server(work, end):
    """SIGSTOP for longer than the deadline."""
    source = make_disk(work / "source", 16 * MIB)
    target = make_dirty(work / "target", 16 * MIB)
    out, into = work.nbdkit("file", source), work.nbdkit("file", target)
    process = start_copy("--rate", "8M", "--deadline", "1", out.uri, into.uri)
    time.sleep(0.5)
    stopped = out if end == "source" else into
    stopped.signal(signal.SIGSTOP)
    time.sleep(3)
    stopped.signal(signal.SIGCONT)
    time.sleep(0.2)
    if stopped.process.poll() is not None:
        stopped.start()  # nbdkit 1.32 aborts when a client leaves with requests under way
    end_copy(process).done
    assert same(source, target)


def test_lost_for_good(work):
    source = make_disk(work / "source", 16 * MIB)
    server = work.nbdkit("file", source)
    process = start_copy("--rate", "2M", "--reconnect", "2", server.uri, work / "t")
    time.sleep(0.5)
    server.kill()
    os.unlink(server.socket)
    start = time.monotonic()
    assert end_copy(process).error["code"] == "endpoint-open"
    assert time.monotonic() - start < 8 * SLOW


def test_another_disk_after_reconnect(work):
    server = work.nbdkit("file", make_disk(work / "source", 16 * MIB))
    process = start_copy("--rate", "2M", server.uri, work / "t")
    time.sleep(0.5)
    server.kill()
    server.argv[-1] = make_disk(work / "other", 8 * MIB)
    server.start()
    assert end_copy(process).error["code"] == "endpoint-size"


@pytest.mark.parametrize("flags, blocks, code", [
    (1 | 4 | 64 | 256, (1, 4096, 1 << 20), None),
    (1 | 4 | 64, (1, 4096, 1 << 20), "protocol"),       # a flush does not hold for the other connection any more
    (1 | 64 | 256, (1, 4096, 1 << 20), "protocol"),     # there is no flush any more
    (1 | 4 | 256, (1, 4096, 1 << 20), "protocol"),      # no command for zeroes
    (1 | 4 | 64 | 256, (4096, 4096, 1 << 20), "protocol"),
    (1 | 4 | 64 | 256, (1, 4096, 1 << 16), "protocol"),
    (1 | 2 | 4 | 64 | 256, (1, 4096, 1 << 20), "endpoint-readonly"),
])
def test_target_offers_less_after_reconnect(work, flags, blocks, code):
    server = ChangingServer(work / "c", 4 * MIB, flags, blocks)
    result = run_copy(make_dirty(work / "source", 4 * MIB), server.uri)
    server.stop()
    if code:
        assert result.error["code"] == code
    else:
        assert result.done["sent"] > 4 * MIB, "nothing was written again"


@pytest.mark.parametrize("seed", range(4))
def test_connection_cut_after_n_bytes(work, proxy, seed):
    dice = random.Random(seed)
    source = make_disk(work / "source", 12 * MIB)
    target = make_dirty(work / "target", 12 * MIB)
    server = work.qemu_nbd(source, "-r")
    # The first connection lives long enough to start, the second gives the map; then cuts anywhere, also within
    # headers.
    between = proxy(server, cut_after=[dice.randrange(1000, 600 * KIB), 10 ** 9] +
                    [dice.randrange(0, 600 * KIB) for _ in range(12)])
    run_copy("--deadline", "3", between.uri, target).done
    assert between.cuts >= 3
    assert same(source, target)


def test_target_connection_cut(work, proxy):
    source = make_disk(work / "source", 12 * MIB)
    target = make_dirty(work / "target", 12 * MIB)
    into = work.qemu_nbd(target)
    between = proxy(into, cut_after=[500, 300, 700, 200, 1000, 150])
    run_copy("--deadline", "3", source, between.uri).done
    assert between.cuts >= 3
    assert same(source, target)


def test_half_open_connection(work, proxy):
    source = make_disk(work / "source", 12 * MIB)
    between = proxy(work.qemu_nbd(source, "-r"), stall_after=MIB)
    run_copy("--deadline", "1", between.uri, work / "t").done
    assert same(source, work / "t")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_cancel(work, number):
    source = make_disk(work / "source", 16 * MIB)
    server = work.nbdkit("file", source)
    process = start_copy("--rate", "2M", "--journal", work / "j", server.uri, work / "t")
    wait_done(process, MIB)
    start = time.monotonic()
    process.send_signal(number)
    result = end_copy(process)
    assert result.error["code"] == "cancelled"
    assert time.monotonic() - start < 2 * SLOW
    time.sleep(0.1)
    assert server.process.poll() is None, "the server did not survive the goodbye"
    done = run_copy("--journal", work / "j", server.uri, work / "t").done
    assert same(source, work / "t")
    full = run_copy(server.uri, work / "u").done
    assert done["read"] < full["read"], "the journal was not used"


def test_cancel_while_connecting(work):
    import socket
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(work / "s")
    listener.listen()
    process = start_copy(f"nbd+unix:///?socket={work / 's'}", work / "t")
    peer, _ = listener.accept()  # it is there, and gets no answer
    process.terminate()
    assert end_copy(process, 3).error["code"] == "cancelled"
    peer.close()
    listener.close()


def test_reader_that_does_not_read(work):
    """A full pipe on standard output must not stall the copy."""
    source = make_disk(work / "source", 8 * MIB)
    process = start_copy("--rate", "3M", source, work / "t")
    read_end = process.stdout
    import fcntl
    fcntl.fcntl(read_end, 1031, 4096)  # F_SETPIPE_SZ
    deadline = time.monotonic() + 20 * SLOW
    time.sleep(3)
    process.send_signal(0)
    while time.monotonic() < deadline and not same(source, work / "t"):
        time.sleep(0.2)
    assert same(source, work / "t")
    end_copy(process)


def test_last_line_tells_the_error(work):
    result = run_copy(work / "nothing", work / "t")
    assert result.error["code"] == "endpoint-open"
    assert set(result.error) == {"event", "code", "message", "evidence"}
    assert "nothing" in result.error["message"] and "nothing" in result.stderr
