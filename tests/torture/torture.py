#!/usr/bin/env python3
"""Kills producers and the hub at random moments, with a ledger, and holds all ledgers against the devbroker's log.

    tests/torture/torture.py [--short | --kills N] [--seed N]     ./dev torture builds first

Three phases, so that each promise is checked where it is strongest:
  producers  only producers die: whatever one of them got accepted is in the broker, told or not;
  hub        only the hub dies: every accepted message of every producer ends exactly once;
  both       anything dies at any moment: nothing that was told is untrue.
After each phase the hub must hold no descriptor and no client more than before it. The seed is printed; it fixes who
is killed when, not how the kernel schedules."""
import argparse
import os
import pathlib
import random
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "real"), str(HERE.parent / "support")]

import ledger
from devbroker import DevBroker
from hub_process import Hub, LedgerProducer, finish_all
from processes import CheckFailed, check, tail, wait_until

LANES = 6  # producers alive at a time
TOPIC = "Torture"
TIMEOUT_MS = 3000


class Lives:
    """Producers that are started again under a new name when they die or come to their end."""

    def __init__(self, hub, work_dir, phase, chance):
        self.hub, self.work_dir, self.phase, self.chance = hub, work_dir, phase, chance
        self.all, self.died = [], set()
        self.alive = [self.start(lane) for lane in range(LANES)]

    def start(self, lane):
        options = {"count": self.chance.choice((20, 200, 2000)), "rate": self.chance.choice((200, 1000, 4000)),
                   "mode": self.chance.choice(("sync", "async", "async")), "in_flight": self.chance.choice((1, 16, 200)),
                   "size": self.chance.choice((40, 200, 3000)), "timeout": TIMEOUT_MS}
        producer = LedgerProducer(self.hub, self.work_dir, f"{self.phase}-{len(self.all)}", f"torture-{lane % 3}", TOPIC, **options)
        self.all.append(producer)
        return producer.start()

    def replace_ended(self):
        for lane, producer in enumerate(self.alive):
            if producer.process.poll() is not None:
                self.alive[lane] = self.start(lane)

    def kill_one(self):
        lane = self.chance.randrange(LANES)
        victim = self.alive[lane]
        if victim.process.poll() is None:
            self.died.add(victim.name)
        victim.kill()
        self.alive[lane] = self.start(lane)

    def finish(self):
        finish_all(self.alive, 60)

    def entries(self):
        return [entry for producer in self.all for entry in producer.entries()]


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def segments(process):
    """Shared segments that the hub maps, as the kernel lists them."""
    return pathlib.Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8").count("/memfd:")


def in_flight(hub):
    return sum(row["value"] for row in hub.read("stats")["items"] if row["name"] == "messages_in_flight")


def kill_and_start_hub(hub, chance):
    """Every third hub dies young: while clients attach to it again and it sends what the last one left."""
    time.sleep(chance.random() * chance.choice((0.005, 0.08, 0.08)))
    if hub.process.poll() is not None:
        raise CheckFailed(f"the hub died by itself, status {hub.process.returncode}: {tail(hub.log)}")
    hub.kill()
    time.sleep(chance.random() * 0.02)
    hub.start()


class Bench:
    """What the phases share: the processes, the folder, the chance, and which messages belong to earlier phases."""

    def __init__(self, broker, hub, work_dir, chance):
        self.broker, self.hub, self.work_dir, self.chance = broker, hub, work_dir, chance
        self.seen = 0

    def stored_since(self):
        """What the broker stored since the last call."""
        stored = self.broker.log().stored
        new, self.seen = stored[self.seen:], len(stored)
        return new


def run_phase(name, kills, hub_share, bench):
    """kills: how many; hub_share: which part of them hits the hub."""
    hub, work_dir, chance = bench.hub, bench.work_dir, bench.chance
    started = time.monotonic()
    lives = Lives(hub, work_dir, name, chance)
    hub_kills = 0
    for _ in range(kills):
        lives.replace_ended()
        if chance.random() < hub_share:
            kill_and_start_hub(hub, chance)
            hub_kills += 1
        else:
            time.sleep(chance.random() * 0.012)
            lives.kill_one()
    lives.finish()
    print(f"   {name}: {kills - hub_kills} producers and {hub_kills} hubs killed, {len(lives.all)} producers ran, "
          f"{time.monotonic() - started:.1f} s", flush=True)

    time.sleep(TIMEOUT_MS / 1000 if lives.died else 0)  # what the dead left is sent by its deadline or not at all
    entries, stored = lives.entries(), bench.stored_since()
    ledger.check_promises(entries, stored, lives.died)
    keys = {message.uniq_key for message in stored}
    untold = [entry for entry in entries if entry.accepted and not entry.results]
    missing = sum(entry.uniq_key not in keys for entry in untold)
    counted = f"accepted from a process that was killed: {len(untold)} untold, of these not in the broker {missing}"
    if hub_kills == 0:
        check(not missing, counted)
    else:
        print(f"      .. {counted} (a message survives its process, or the hub, not both)", flush=True)


def check_no_leak(hub, name, baseline):
    """Nothing of the dead stays behind: descriptors, shared segments, rows, messages in flight."""
    def is_clean():
        return (descriptors(hub.process) <= baseline and segments(hub.process) == 0 and in_flight(hub) == 0 and
                not hub.read("clients")["items"])
    try:
        wait_until(is_clean, 15, "the hub to give back what the dead held", 0.2)
    except CheckFailed:
        pass
    check(is_clean(), f"{name}: descriptors of the hub {descriptors(hub.process)}, at first {baseline}; segments mapped "
                      f"{segments(hub.process)}, clients {len(hub.read('clients')['items'])}, messages in flight {in_flight(hub)}")


def settle(hub, work_dir):
    """One producer comes and goes, so that the connections that stay are open; returns the hub's descriptors then."""
    producer = LedgerProducer(hub, work_dir, f"settle-{time.monotonic_ns()}", "torture-0", TOPIC, count=8).start()
    finish_all([producer], 30)
    time.sleep(0.2)
    return descriptors(hub.process)


def torture(broker, hub, work_dir, kills, chance):
    bench = Bench(broker, hub, work_dir, chance)
    baseline = settle(hub, work_dir)
    bench.stored_since()
    for name, share, hub_share in (("producers", 0.6, 0.0), ("hub", 0.05, 1.0), ("both", 0.35, 0.1)):
        run_phase(name, round(kills * share), hub_share, bench)
        check_no_leak(hub, name, baseline + 2)


def main():
    parser = argparse.ArgumentParser(prog="./dev torture", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--short", action="store_true", help="2,000 kills, what ./dev check runs")
    parser.add_argument("--kills", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    kills = 2000 if options.short else options.kills
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"== torture: {kills} kills, seed {seed}", flush=True)

    build_dir = pathlib.Path(os.environ.get("RMQHUB_BUILD_DIR") or HERE.parents[1] / "build/dev").resolve()
    held = False
    with tempfile.TemporaryDirectory(prefix="rmqhub-torture-") as folder:
        work_dir = pathlib.Path(folder)
        try:
            with DevBroker(build_dir / "bin", work_dir) as broker, Hub(build_dir / "bin", work_dir, broker.namesrv) as hub:
                torture(broker, hub, work_dir, kills, random.Random(seed))
                held = True
        except CheckFailed as failure:
            print(f"torture: FAILED: {failure}\n         again: ./dev torture --kills {kills} --seed {seed}", file=sys.stderr)
    print(f"== torture: {'ok' if held else 'FAILED'}, {kills} kills, seed {seed}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
