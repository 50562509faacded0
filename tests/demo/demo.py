#!/usr/bin/env python3
"""The whole promise in a few seconds: many producers, one hub, an embedded broker; a producer and the hub are killed while
they work, and at the end the producers' ledgers are held against what the broker stored.

    tests/demo/demo.py [--keep]         ./dev demo builds first; --keep leaves all of it running until Ctrl-C
"""
import argparse
import os
import pathlib
import signal
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "real"), str(HERE.parent / "support")]

from devbroker import DevBroker
from hub_process import Hub, LedgerProducer, finish_all, total_lines
from processes import CheckFailed, wait_until

PRODUCERS = 8
EACH = 2000
RATE = 1000  # messages a second of each producer: slow enough to kill something half-way
GROUP, TOPIC = "demo-group", "DemoTopic"


class Table:
    """The rows of the result; a row with a condition decides over the exit status."""

    def __init__(self):
        self.rows = []

    def add(self, what, value, held=None, wanted=""):
        self.rows.append((what, value, held, wanted))

    def print(self):
        print()
        for what, value, held, wanted in self.rows:
            mark = "  " if held is None else "ok" if held else "NO"
            print(f"  {mark}  {what:<58} {value!s:>12}  {wanted}")

    def all_held(self):
        return all(held is not False for _, _, held, _ in self.rows)


def memory_kib(pid):
    """(private, shared) resident memory of a process."""
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0])
    private = fields["Private_Clean"] + fields["Private_Dirty"]
    return private, fields["Rss"] - private


def kill_a_producer(hub, producers, ports, table):
    """Kills one half-way and starts it again where its ledger ends; the broker must not notice."""
    victim = producers[3]
    wait_until(lambda: total_lines([victim], "R") >= EACH // 2, 60, f"{victim.name} to get half-way")
    before = hub.broker_connections(ports)
    victim.kill()
    print(f"  SIGKILL  {victim.name} after {total_lines([victim], 'R')} answers; started again where its ledger ends", flush=True)
    offered = total_lines([victim], "I")
    victim.start(resume=True)
    wait_until(lambda: total_lines([victim], "I") > offered + 5, 30, f"{victim.name} to send again")
    after = hub.broker_connections(ports)
    table.add("TCP connections open at the broker", len(after), len(after) == 1, "wanted 1")
    table.add("reconnects caused by the producer restart", len(set(after) - set(before)), after == before, "wanted 0")
    return victim


def kill_the_hub(broker, hub, producers):
    """The broker is held for a moment first, so that the hub dies with sends on the wire, whose fate it cannot know."""
    wait_until(lambda: total_lines(producers, "R") >= PRODUCERS * EACH * 3 // 4, 60, "three quarters of the answers")
    broker.process.send_signal(signal.SIGSTOP)
    time.sleep(0.03)
    hub.kill()
    open_sends = total_lines(producers, "I") - total_lines(producers, "R")
    broker.process.send_signal(signal.SIGCONT)
    hub.start()
    print(f"  SIGKILL  the hub with {open_sends} sends unanswered; started again", flush=True)


def add_promises(table, producers, victim, log):
    entries = [entry for producer in producers for entry in producer.entries()]
    accepted = [entry for entry in entries if entry.accepted]
    ended = [entry for entry in accepted if len(entry.results) == 1]
    stored = [entry for entry in ended if entry.results[0].outcome == "STORED"]
    in_broker = {}
    for message in log.stored:
        in_broker[message.uniq_key] = in_broker.get(message.uniq_key, 0) + 1
    lost = [entry for entry in stored if entry.uniq_key not in in_broker]
    false_alarm = [entry for entry in ended if entry.results[0].outcome == "NOT_STORED" and entry.uniq_key in in_broker]
    untold = [entry for entry in accepted if not entry.results and entry.name == victim.name]
    flagged = [entry for entry in ended if entry.results[0].maybe_duplicated]
    quiet = [entry for entry in ended if in_broker.get(entry.uniq_key, 0) > 1 and not entry.results[0].maybe_duplicated
             and entry.results[0].outcome == "STORED"]

    unseen = [entry for entry in entries if not entry.accepted and entry.name == victim.name]
    table.add("accepted", len(accepted), len(accepted) + len(unseen) == PRODUCERS * EACH,
              f"wanted {PRODUCERS * EACH}, or 1 less: the call in which its process was killed")
    table.add("exactly one completion each", len(ended), len(ended) + len(untold) == len(accepted),
              f"and {len(untold)} whose process was killed before the answer")
    table.add("STORED", len(stored))
    table.add("in the broker's log", len(log.stored))
    table.add("distinct", len(in_broker))
    table.add("lost: STORED but not in the log", len(lost), not lost, "wanted 0")
    table.add("NOT_STORED, yet in the log", len(false_alarm), not false_alarm, "wanted 0")
    table.add("stored twice and not flagged", len(quiet), not quiet, "wanted 0")
    table.add("flagged as possible duplicates", len(flagged))


def show_memory(table, hub, producers):
    private, shared = memory_kib(hub.process.pid)
    table.add("memory of the hub, private + shared", f"{private / 1024:.1f} MiB", None, f"+ {shared / 1024:.1f} MiB")
    living = [producer for producer in producers if producer.process.poll() is None]
    private, shared = memory_kib(living[0].process.pid)
    table.add("memory of one producer process, private + shared", f"{private / 1024:.1f} MiB", None, f"+ {shared / 1024:.1f} MiB")


def play(broker, hub, work_dir):
    table = Table()
    ports = broker.broker_ports
    producers = [LedgerProducer(hub, work_dir, f"p{i}", GROUP, TOPIC, count=EACH, rate=RATE, in_flight=64,
                                mode=("async", "sync")[i % 2]).start() for i in range(PRODUCERS)]
    print(f"  {PRODUCERS} producers send {EACH} messages each, as processes of their own, through one hub", flush=True)
    victim = kill_a_producer(hub, producers, ports, table)
    show_memory(table, hub, producers)
    kill_the_hub(broker, hub, producers)
    finish_all(producers, 60)

    log = broker.log()
    registrations = [event for event in log.events if event.kind == "register" and f"producer_group={GROUP} " in event.details]
    table.add("registrations of the group at the broker", len(registrations), len(registrations) == 2, "wanted 2: one in each life of the hub")
    table.add("start to first SEND_OK of the restarted producer", f"{victim.summary()['first_stored_us'] / 1000:.1f} ms")
    add_promises(table, producers, victim, log)
    table.print()
    return table.all_held()


def keep_running(broker, hub, work_dir):
    """One slow producer goes on, so that there is something to look at."""
    producer = LedgerProducer(hub, work_dir, "slow", GROUP, TOPIC, count=4000000000, rate=20, mode="sync").start()
    rmqhub = os.path.relpath(hub.bin_dir / "rmqhub")
    print(f"""
Everything is left running (nameserver {broker.namesrv}, hub {hub.process.pid}, a producer sending 20 messages a second). Try:

  export RMQHUB_RUNTIME_DIR={hub.runtime_dir}
  {rmqhub} status
  {rmqhub} groups
  {rmqhub} clients --json
  {rmqhub} connections
  {rmqhub} send --group {GROUP} --topic {TOPIC} --body hello
  kill -9 {hub.process.pid}; {rmqhub} status

Ctrl-C ends it.""", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print()
    producer.kill()


def main():
    parser = argparse.ArgumentParser(prog="./dev demo", description="Kills producers and the hub while they work; shows that nothing was lost.")
    parser.add_argument("--keep", action="store_true", help="leave everything running afterwards, until Ctrl-C")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    build_dir = pathlib.Path(os.environ.get("RMQHUB_BUILD_DIR") or HERE.parents[1] / "build/dev").resolve()
    with tempfile.TemporaryDirectory(prefix="rmqhub-demo-") as folder:
        work_dir = pathlib.Path(folder)
        try:
            with DevBroker(build_dir / "bin", work_dir) as broker, Hub(build_dir / "bin", work_dir, broker.namesrv) as hub:
                held = play(broker, hub, work_dir)
                print(f"\n{'All of it held.' if held else 'NOT all of it held.'}")
                if options.keep:
                    keep_running(broker, hub, work_dir)
        except CheckFailed as failure:
            print(f"demo: {failure}", file=sys.stderr)
            held = False
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
