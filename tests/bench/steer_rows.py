# SPDX-License-Identifier: Apache-2.0
"""The rows of `bench` that compare the program with itself and with its promises: TLS and rate limits."""
import json
import os
import subprocess
import threading
import time

MIB = 1 << 20
RATE = 10_000_000


class SteerRows:
    """Part of Bench, which has the rest."""

    def row_tls(self):
        source = self.sparse_disk()
        keys = self.path("keys.psk")
        if not os.path.exists(keys):
            subprocess.run(["psktool", "-u", "alice", "-p", keys], check=True, stdout=subprocess.DEVNULL)
        plain, secret = self.path("plain.sock"), self.path("secret.sock")
        ours = [self.copy, "--progress", "none"]
        with self.server(["nbdkit", "-f", "-U", plain, "file", source], plain), \
             self.server(["nbdkit", "-f", "-U", secret, "--tls=require", f"--tls-psk={keys}", "file", source], secret):
            self.row("TLS with a pre-shared key, 4 GiB sparse with 25 % data, NBD -> null:", "the same without TLS",
                     self.pairs_of([*ours, "--tls-psk", keys, f"nbds+unix://alice@/?socket={secret}", "null:"],
                                   [*ours, f"nbd+unix:///?socket={plain}", "null:"],
                                   lambda: None, lambda label: None), {"cpu": 3},
                     "the cipher: the bytes are decrypted and authenticated by the copy's one thread")

    def watch(self, source, ends):
        """Run a limited copy; returns [(time, bytes done)]."""
        process = subprocess.Popen([self.copy, "--progress", "json", "--rate", str(RATE), source, "null:"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        seen = []
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "progress":
                seen.append((time.monotonic(), event["done"]))
        if process.wait() != 0:
            raise SystemExit("a limited copy failed")
        ends.append(seen)

    @staticmethod
    def errors(seen, seconds):
        """Deviations in percent over windows of so many seconds, after the first second."""
        found = []
        for i, (start, before) in enumerate(seen):
            if start < seen[0][0] + 1:
                continue
            later = next(((at, done) for at, done in seen[i:-2] if at >= start + seconds), None)
            if later:
                found.append(abs((later[1] - before) / (later[0] - start) / RATE - 1) * 100)
        return found

    def row_rate(self):
        """Five copies of 13 s and one that ends after 5 s."""
        block = os.urandom(MIB)
        for name, seconds in (("long.raw", 13), ("short.raw", 5)):
            with open(self.path(name), "wb") as file:
                for _ in range(RATE * seconds // MIB):
                    file.write(block)
        ends = []
        threads = [threading.Thread(target=self.watch, args=(self.path("short.raw" if n == 5 else "long.raw"), ends))
                   for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        second = max(max(self.errors(seen, 1)) for seen in ends)
        ten = max(max(self.errors(seen, 10), default=0) for seen in ends)
        missed = [name for name, value, goal in (("1 s", second, 5), ("10 s", ten, 2)) if value > goal]
        self.add({"workload": "rate limit, six copies at 10 MB/s, one of them finishing early",
                  "against": "the set value", "pairs": 1,
                  "wall": f"worst over 10 s: {ten:.1f} % goal 2 %; over 1 s: {second:.1f} % goal 5 %",
                  "cpu": "-", "memory": "-", "verdict": "missed: " + ", ".join(missed) if missed else "met",
                  "bound": "the load of the machine: woken late, a copy loses what its burst of 0.1 s cannot cover"})
