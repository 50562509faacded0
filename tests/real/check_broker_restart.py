"""The broker is killed and started again while producers send: what was on the wire ends as UNKNOWN at once, the hub
dials again by itself, and the group is registered again without anybody asking."""

import ledger
from hub_process import Hub, LedgerProducer, finish_all, total_lines
from processes import check, wait_until
from reply_probe import probe

TITLE = "SIGKILL and restart of the broker under load"
REAL_SERVERS_ONLY = True   # devbroker keeps its messages in memory
PROCESSES = 4
EACH = 4000
GROUP = "broker-restart"
TOPIC = "BrokerRestart"


def run(bench):
    server = bench.server
    with Hub(bench.bin_dir, bench.work_dir, server.namesrv) as hub:
        producers = [LedgerProducer(hub, bench.work_dir, f"p{i}", GROUP, TOPIC, count=EACH, rate=200, mode=("sync", "async")[i % 2], timeout=20000).start()
                     for i in range(PROCESSES)]
        wait_until(lambda: total_lines(producers, "R") > PROCESSES * 100, 30, "the producers to send")
        before = hub.broker_connections(server.broker_ports)
        server.restart_broker()
        answered = total_lines(producers, "R")
        wait_until(lambda: total_lines(producers, "R") > answered + PROCESSES * 100, 60, "answers from the broker's second life")
        after = hub.broker_connections(server.broker_ports)
        check(len(before) == len(after) == 1 and before != after, f"one connection before and after, a new one: {before}, {after}")
        wait_until(lambda: len(bench.java.producer_connections(server.namesrv, GROUP, TOPIC)) == 1, 40, "the group to be registered again")
        row = next(row for row in hub.read("brokers")["items"])
        answer = wait_until(lambda: (a := probe(row["address"], row["client_id"])).code == 0 and a, 20, "the broker to reach the client again", 0.2)
        check(answer.code == 0, f"a reply to {row['client_id']} reaches it over the new connection: {tuple(answer)}")
        statuses = finish_all(producers, 120)
        check(set(statuses.values()) <= {0, 1, 7}, f"all {PROCESSES} producers came to their end: exit statuses {sorted(statuses.values())}")
    entries = [e for p in producers for e in p.entries()]
    stored, total = ledger.count(entries, "STORED"), PROCESSES * EACH
    check(stored > total * 0.7, f"STORED {stored} of {total}")
    ledger.check_promises(entries, bench.java.read_back(server.namesrv, TOPIC))
