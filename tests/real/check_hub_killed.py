"""The hub is killed and started again under load; no producer may lose a message or be told something untrue.

Most kills come while the broker is frozen for a moment: then there are sends on the wire that the broker will store and
that nobody can be told about, which the next hub sends once more, and has to say so."""

import random
import time

import ledger
from hub_process import Hub, LedgerProducer, finish_all, total_lines
from processes import check, wait_until

TITLE = "5 SIGKILLs of the hub under load"
PROCESSES = 8
KILLS = 5
EACH = 3000
GROUP = "hub-killed"
TOPIC = "HubKilled"


def run(bench):
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"      .. seed {seed}", flush=True)
    with Hub(bench.bin_dir, bench.work_dir, bench.server.namesrv) as hub:
        producers = [LedgerProducer(hub, bench.work_dir, f"p{i}", GROUP, TOPIC, count=EACH, rate=300, in_flight=64, mode=("sync", "async")[i % 2]).start()
                     for i in range(PROCESSES)]
        open_at_kill = []
        for number in range(KILLS):
            before = total_lines(producers, "R")
            wait_until(lambda n=before: total_lines(producers, "R") > n + PROCESSES * 50, 60, "the producers to get answers from this hub")
            bench.server.freeze(number > 0)
            try:
                time.sleep(chance.random() * 0.2)
                hub.kill()
            finally:
                bench.server.freeze(False)
            open_at_kill.append(total_lines(producers, "S") - total_lines(producers, "R"))
            time.sleep(chance.random() * 0.5)
            hub.start()
        alive = sum(p.process.poll() is None for p in producers)
        check(alive > 0, f"the load lasted to the last kill: {alive} of {PROCESSES} producers still sending; open sends at each kill {open_at_kill}")
        statuses = finish_all(producers, 180)
        entries = [e for p in producers for e in p.entries()]
        check(set(statuses.values()) <= {0, 7, 1}, f"all {PROCESSES} producers came to their end: exit statuses {sorted(statuses.values())}")
        check(len(hub.broker_connections(bench.server.broker_ports)) == 1, "one connection from the last hub to the broker")
    accepted = sum(bool(e.accepted) for e in entries)
    check(accepted == PROCESSES * EACH, f"every message was accepted in the end: {accepted} of {PROCESSES * EACH}, refused and offered again {sum(e.refused for e in entries)}")
    ledger.check_promises(entries, bench.java.read_back(bench.server.namesrv, TOPIC))
