"""Producers are killed and started again while they send; the broker must not notice.

Each is killed while the hub is stopped for a moment, so that it dies with accepted messages that nobody has taken yet:
they must be sent all the same."""

import signal
import time

import ledger
from hub_process import Hub, LedgerProducer, finish_all, total_lines
from processes import check, wait_until

TITLE = "SIGKILL and restart of 5 producers leaves connection and registration untouched"
PROCESSES = 8
KILLED = 5
EACH = 1500
RATE = 100
HUB_STOPPED_S = 0.2
GROUP = "producer-restart"
TOPIC = "ProducerRestart"


def run(bench):
    server = bench.server
    with Hub(bench.bin_dir, bench.work_dir, server.namesrv) as hub:
        producers = [LedgerProducer(hub, bench.work_dir, f"p{i}", GROUP, TOPIC, count=EACH, rate=RATE, mode=("sync", "async")[i % 2]).start()
                     for i in range(PROCESSES)]
        wait_until(lambda: total_lines(producers, "R") > PROCESSES * 10, 30, "the producers to send")
        ports_before = hub.broker_connections(server.broker_ports)
        rows_before = bench.java.producer_connections(server.namesrv, GROUP, TOPIC)
        check(len(ports_before) == 1 and len(rows_before) == 1, f"before: local ports {ports_before}, registrations {[tuple(r) for r in rows_before]}")

        ports_seen = set()
        for victim in producers[:KILLED]:
            _kill_with_open_sends(hub, victim)
            offered = len(victim.entries())
            ports_seen.update(hub.broker_connections(server.broker_ports))
            victim.start(resume=True)
            wait_until(lambda v=victim, n=offered: len(v.entries()) > n + 10, 30, f"{victim.name} to send again")
            ports_seen.update(hub.broker_connections(server.broker_ports))
        rows_after = bench.java.producer_connections(server.namesrv, GROUP, TOPIC)
        statuses = finish_all(producers, 120)
        check(set(statuses.values()) == {0}, f"exit status 0 of {list(statuses.values()).count(0)} of {PROCESSES} processes")
        check(ports_seen == set(ports_before), f"the hub's local ports to the broker during {KILLED} kills: {sorted(ports_seen)}, before: {ports_before}")
        check(rows_after == rows_before, f"producerConnection is the same row: {[tuple(r) for r in rows_after]}")
        first = [p.summary()["first_stored_us"] for p in producers[:KILLED]]
        print(f"      .. start to first SEND_OK of the restarted producers: {', '.join(f'{us / 1000:.1f}' for us in sorted(first))} ms")

    entries = [e for p in producers for e in p.entries()]
    stored = bench.java.read_back(server.namesrv, TOPIC)
    died = {p.name for p in producers[:KILLED]}
    ledger.check_promises(entries, stored, died)
    # The hub lived: what a killed producer had got accepted was sent all the same.
    untold = [e for e in entries if e.accepted and not e.results]
    keys = {m.uniq_key for m in stored}
    sent = sum(e.uniq_key in keys for e in untold)
    check(untold and sent == len(untold), f"accepted from a process that was killed before the answer: {len(untold)}, of these in the broker {sent}")


def _kill_with_open_sends(hub, victim):
    hub.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(HUB_STOPPED_S)
        check(victim.process.poll() is None, f"{victim.name} is killed while it sends, after {len(victim.entries())} of {EACH} messages")
        victim.kill()
    finally:
        hub.process.send_signal(signal.SIGCONT)
