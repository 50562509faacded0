#!/usr/bin/env python3
"""One process, many threads, one attachment, and a hub that is killed again and again (tests/support/many_threads.c)."""

import collections
import random
import subprocess
import time

from system_test import BIN, SystemTest, main, tail, wait_until

SECONDS = 6
LATE_MS = 400  # the promise is 50; the machine may be busy, and the sanitizers are slow


class Threads(SystemTest):
    def test_the_hub_dies_under_many_threads(self):
        broker = self.start_broker()
        hub = self.start_hub("--namesrv", broker.namesrv)
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        ledger = self.dir / "ledger"
        with open(ledger, "w", encoding="utf-8") as out:
            process = subprocess.Popen([BIN / "many_threads", self.runtime_dir, str(SECONDS * 1000), str(LATE_MS)], stdout=out, stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        wait_until(lambda: ledger.read_text() or process.poll() is not None, 10, "it to start", 0.01)
        kills, until = 0, time.monotonic() + SECONDS
        while time.monotonic() < until:
            time.sleep(chance.random() * chance.choice((0.01, 0.3)))
            self.assertIsNone(hub.poll(), f"the hub died by itself:\n{tail(self.log)}")
            hub.kill()
            hub.wait()
            kills += 1
            time.sleep(chance.random() * 0.06)
            hub = self.start_hub("--namesrv", broker.namesrv)
        _, errors = process.communicate(timeout=60)
        print(f"seed {seed}, {kills} hubs killed: {errors.strip()}", flush=True)
        self.assertEqual(process.returncode, 0, errors)
        self.hold_against(broker.log().stored, ledger)

    def hold_against(self, stored, ledger):
        copies = collections.Counter(m.uniq_key for m in stored)
        seen = set()
        for line in ledger.read_text(encoding="utf-8").splitlines()[1:]:
            key, outcome, duplicated = line.split()
            self.assertNotIn(key, seen)
            seen.add(key)
            if outcome == "STORED":
                self.assertGreater(copies[key], 0, f"{key} STORED, but not in the broker")
                if copies[key] > 1:
                    self.assertEqual(duplicated, "1", f"{key} stored {copies[key]} times and not flagged")
            elif outcome == "NOT_STORED":
                self.assertEqual(copies[key], 0, f"{key} NOT_STORED, but in the broker")
        self.assertEqual(set(copies) - seen, set(), "in the broker, and nobody was told")


if __name__ == "__main__":
    main()
