# SPDX-License-Identifier: Apache-2.0
"""An NBD server that breaks the protocol where it is told to, and a proxy that cuts and damages.

Facts of the protocol: doc/proto.md of the NBD project (newstyle negotiation, structured replies).
"""
import os
import socket
import struct
import threading
import time

IHAVEOPT = 0x49484156454F5054
REPLY_MAGIC = 0x0003E889045565A9
OPT_ABORT, OPT_GO, OPT_STRUCTURED, OPT_SET_META = 2, 7, 8, 10
REP_ACK, REP_INFO, REP_META, REP_ERR_UNSUP = 1, 3, 4, (1 << 31) + 1
SIMPLE, STRUCTURED = 0x67446698, 0x668E33EF
READ, WRITE, DISCONNECT, FLUSH, WRITE_ZEROES, BLOCK_STATUS = 0, 1, 2, 3, 6, 7
OFFSET_DATA, STATUS = 1, 5


class Listener:
    """Threads that serve connections to a UNIX socket, until stop()."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(16)
        self.sockets = []
        self.connections = 0
        self.thread = threading.Thread(target=self.accept_all, daemon=True)
        self.thread.start()

    @property
    def uri(self):
        return f"nbd+unix:///?socket={self.path}"

    def accept_all(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.append(sock)
            self.connections += 1
            threading.Thread(target=self.serve_quietly, args=(sock, self.connections), daemon=True).start()

    def serve_quietly(self, sock, number):
        try:
            self.serve(sock, number)
        except (OSError, EOFError, struct.error):
            pass
        finally:
            sock.close()

    def serve(self, sock, number):
        raise NotImplementedError

    def stop(self):
        # A blocked accept() holds the socket open: shutdown wakes it.
        for sock in [self.listener] + self.sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


def receive(sock, n):
    data = b""
    while len(data) < n:
        piece = sock.recv(n - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


class HostileServer(Listener):
    """Serves zeroes.  `breach` names what it does wrong:
    size     an export of 2^63 + 1 bytes
    empty, none, huge, context, odd    what its block status says
    handle   read replies with another handle
    error    every read fails with EIO
    shutdown every read fails with ESHUTDOWN, and nothing else happens
    magic    read replies that are no replies
    oversized    read replies that are longer than what was asked for
    structured   structured read replies, which were not negotiated
    short    read replies that end in the middle, then silence
    status-error    block status fails
    silent   never answers a read
    resize   a size that changes with each connection
    many     block status in extents of one byte
    twice    two lists of extents in one answer
    beyond   block status that goes on and on behind what was asked
    endless  a handshake without an end
    """

    flags = 1 | 4 | 256  # has flags, flush, multi-conn

    def __init__(self, path, breach, size=1 << 20):
        self.breach = breach
        self.size = size
        super().__init__(path)

    def option_reply(self, sock, option, kind, data=b""):
        sock.sendall(struct.pack(">QIII", REPLY_MAGIC, option, kind, len(data)) + data)

    def negotiate(self, sock, number):
        """Returns the meta context id given out, or None; raises EOFError if the client goes."""
        size = (1 << 63) + 1 if self.breach == "size" else self.size
        if self.breach == "resize":
            size += 4096 * number
        sock.sendall(b"NBDMAGIC" + struct.pack(">QH", IHAVEOPT, 3))
        receive(sock, 4)
        context = False
        while True:
            _, option, length = struct.unpack(">QII", receive(sock, 16))
            data = receive(sock, length)
            if option == OPT_STRUCTURED:
                self.option_reply(sock, option, REP_ACK)
            elif option == OPT_SET_META:
                at = 4 + struct.unpack(">I", data[:4])[0]
                count = struct.unpack(">I", data[at:at + 4])[0]
                if count:
                    n = struct.unpack(">I", data[at + 4:at + 8])[0]
                    self.option_reply(sock, option, REP_META, struct.pack(">I", 7) + data[at + 8:at + 8 + n])
                    context = True
                self.option_reply(sock, option, REP_ACK)
            elif option == OPT_GO:
                while self.breach == "endless":
                    self.option_reply(sock, option, REP_INFO, struct.pack(">H", 1))
                self.describe(sock, option, size, number)
                self.option_reply(sock, option, REP_ACK)
                return context
            elif option == OPT_ABORT:
                raise EOFError
            else:
                self.option_reply(sock, option, REP_ERR_UNSUP)

    def describe(self, sock, option, size, _number):
        self.option_reply(sock, option, REP_INFO, struct.pack(">HQH", 0, size, self.flags))

    def serve(self, sock, number):
        context = self.negotiate(sock, number)
        while True:
            _, _, command, handle, offset, length = struct.unpack(">IHHQQI", receive(sock, 28))
            if command == DISCONNECT:
                return
            if command == BLOCK_STATUS:
                self.block_status(sock, handle, offset, length)
            elif command == READ:
                self.read(sock, handle, length, context)
            else:
                sock.sendall(struct.pack(">IIQ", SIMPLE, 0, handle))

    def status_chunk(self, sock, handle, payload, kind=STATUS, last=1):
        sock.sendall(struct.pack(">IHHQI", STRUCTURED, last, kind, handle, len(payload)) + payload)

    def block_status(self, sock, handle, offset, length):
        whole = struct.pack(">II", length, 0)
        context, extents = 7, whole
        if self.breach == "empty":
            extents = struct.pack(">II", 0, 0) + whole
        elif self.breach == "none":
            extents = b""
        elif self.breach == "huge":
            extents = struct.pack(">II", 0xFFFFFFFF, 0)
        elif self.breach == "context":
            context = 9
        elif self.breach == "odd":
            extents = whole + b"\0\0\0\0"
        elif self.breach == "twice":
            # Who goes on behind the first list takes half of it for a hole.
            self.status_chunk(sock, handle, struct.pack(">III", context, length // 2, 0), last=0)
            extents = struct.pack(">II", length // 2, 3)
        elif self.breach == "beyond":
            extents = whole + struct.pack(">II", 4096, 0) * 1000
        elif self.breach == "many":
            extents = struct.pack(">II", 1, 0) + struct.pack(">II", 1, 3)
        elif self.breach == "status-error":
            self.status_chunk(sock, handle, struct.pack(">IH", 5, 0), kind=(1 << 15) + 1)
            return
        self.status_chunk(sock, handle, struct.pack(">I", context) + extents)

    def read(self, sock, handle, length, structured):
        if self.breach == "silent":
            time.sleep(3600)
        if self.breach == "handle":
            handle += 1
        if self.breach == "structured" and not structured:
            sock.sendall(struct.pack(">IHHQIQ", STRUCTURED, 1, OFFSET_DATA, handle, 8 + length, 0) + bytes(length))
            return
        if self.breach == "magic":
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        error = {"error": 5, "shutdown": 108}.get(self.breach, 0)
        sock.sendall(struct.pack(">IIQ", SIMPLE, error, handle))
        if not error:
            if self.breach == "short":
                sock.sendall(bytes(length // 2))
                time.sleep(3600)
            sock.sendall(bytes(length + (4096 if self.breach == "oversized" else 0)))


class ChangingServer(HostileServer):
    """A target that crashes after its third write; when it is back it offers something else."""

    flags = 1 | 4 | 64 | 256  # has flags, flush, write zeroes, multi-conn

    def __init__(self, path, size, flags, block_sizes):
        self.later = (flags, block_sizes)
        self.writes = 0
        super().__init__(path, "", size)

    def describe(self, sock, option, size, number):
        flags, blocks = self.later if self.writes else (self.flags, (1, 4096, 1 << 20))
        self.option_reply(sock, option, REP_INFO, struct.pack(">HQH", 0, size, flags))
        self.option_reply(sock, option, REP_INFO, struct.pack(">HIII", 3, *blocks))

    def serve(self, sock, number):
        self.negotiate(sock, number)
        while True:
            _, _, command, handle, _, length = struct.unpack(">IHHQQI", receive(sock, 28))
            if command == DISCONNECT:
                return
            if command == WRITE:
                receive(sock, length)
                self.writes += 1
            if self.writes == 3:
                self.writes += 1
                return
            sock.sendall(struct.pack(">IIQ", SIMPLE, 0, handle))


class ForgetfulServer(HostileServer):
    """A target with a cache that only a flush makes durable.  Just after it acknowledged its n-th write it crashes,
    once (or always): the cache is lost, the connection cut.  A flush takes flush_s."""

    flags = 1 | 4 | 64  # has flags, flush, write zeroes; one connection only

    def __init__(self, path, content, crash_at, unflushed=None, always=False, flush_s=0):
        self.stable = bytearray(content)
        self.cache = bytearray(unflushed or content)
        self.writes = 0
        self.crash_at = crash_at
        self.always = always
        self.flush_s = flush_s
        super().__init__(path, "", len(content))

    def serve(self, sock, number):
        self.negotiate(sock, number)
        while True:
            _, _, command, handle, offset, length = struct.unpack(">IHHQQI", receive(sock, 28))
            if command == DISCONNECT:
                return
            if command == BLOCK_STATUS:
                self.block_status(sock, handle, offset, length)
                continue
            answer = b""
            if command == READ:
                answer = bytes(self.cache[offset:offset + length])
            elif command == FLUSH:
                time.sleep(self.flush_s)
                self.stable[:] = self.cache
            elif command in (WRITE, WRITE_ZEROES):
                self.cache[offset:offset + length] = receive(sock, length) if command == WRITE else bytes(length)
                self.writes += 1
            sock.sendall(struct.pack(">IIQ", SIMPLE, 0, handle) + answer)
            if self.writes == self.crash_at:
                self.crash_at = None if not self.always else self.crash_at
                self.writes = 0 if self.always else self.writes
                time.sleep(0.02)  # let the answer arrive alone
                self.cache[:] = self.stable
                return

    def block_status(self, sock, handle, offset, length):
        parts = [min(65536, offset + length - at) for at in range(offset, offset + length, 65536)]
        extents = b"".join(struct.pack(">II", n, 0 if any(self.cache[offset + i * 65536:][:n]) else 3)
                           for i, n in enumerate(parts))
        self.status_chunk(sock, handle, struct.pack(">I", 7) + extents)


class Proxy(Listener):
    """Passes bytes between clients and a server's UNIX socket.
    cut_after    a connection is cut after so many bytes from the server (a list, one for each connection in
                 turn; then never)
    flip_at      the bit of this byte from the server is flipped, counted over all connections
    stall_after  from this byte on nothing is passed on, but nothing is closed either (half-open)
    """

    def __init__(self, path, server, cut_after=(), flip_at=None, stall_after=None):
        self.server = server
        self.cut_after = list(cut_after)
        self.flip_at = flip_at
        self.stall_after = stall_after
        self.passed = 0
        self.cuts = 0
        self.lock = threading.Lock()
        super().__init__(path)

    def serve(self, sock, number):
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(self.server)
        self.sockets.append(upstream)
        with self.lock:
            cut = self.cut_after.pop(0) if self.cut_after else None
        threading.Thread(target=self.pump_up, args=(sock, upstream), daemon=True).start()
        sent = 0
        while True:
            data = upstream.recv(65536)
            if not data:
                break
            if self.stall_after is not None and sent + len(data) > self.stall_after:
                self.stall_after = None  # only this connection
                time.sleep(3600)
            if cut is not None and sent + len(data) >= cut:
                sock.sendall(data[:cut - sent])
                self.cuts += 1
                break
            data = self.damage(data)
            sock.sendall(data)
            sent += len(data)
        for end in (sock, upstream):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        upstream.close()

    def damage(self, data):
        with self.lock:
            at = None if self.flip_at is None else self.flip_at - self.passed
            self.passed += len(data)
        if at is None or not 0 <= at < len(data):
            return data
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]

    @staticmethod
    def pump_up(sock, upstream):
        try:
            while True:
                data = sock.recv(65536)
                if not data:
                    break
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def remove(path):
    if os.path.exists(path):
        os.unlink(path)
