"""A hub that starts while no nameserver answers uses the routes that the hub before it had learnt, and says how old
they are; the first answer of a nameserver replaces them."""

import ledger
from hub_process import Hub, LedgerProducer
from processes import check, wait_until

TITLE = "a hub started without a nameserver sends along stored routes"
REAL_SERVERS_ONLY = True   # devbroker's nameserver and broker are one process
COUNT = 50
GROUP = "stored-routes"
TOPIC = "StoredRoutes"


def run(bench):
    server = bench.server
    # The topic exists before the hub asks for it: its own route is learnt, not that of the topic that others are made after.
    bench.java.send(server.namesrv, "java-peer", TOPIC, "java", 1, 64, "sync")
    with Hub(bench.bin_dir, bench.work_dir, server.namesrv) as hub:
        def send(name):
            producer = LedgerProducer(hub, bench.work_dir, name, GROUP, TOPIC, count=COUNT, timeout=10000).start()
            return producer, producer.finish(60)

        first, status = send("first")
        check(status == 0, f"with a nameserver: exit status {status}")
        _wait_for_source(hub, "nameserver", 3)
        hub.stop()
        server.kill_namesrv()
        hub.start()
        second, status = send("second")
        check(status == 0, f"new hub, no nameserver: exit status {status}; first SEND_OK after {second.summary()['first_stored_us'] / 1000:.1f} ms; "
                           f"not stored: {ledger.reasons(second.entries())}")
        _wait_for_source(hub, "cache", 3)
        server.start_namesrv()
        _wait_for_source(hub, "nameserver", 90)
    stored = bench.java.read_back(server.namesrv, TOPIC)
    ledger.check_promises(first.entries() + second.entries(), [m for m in stored if m.keys == ""])
    check(len(stored) == 2 * COUNT + 1, f"read back {len(stored)} of {2 * COUNT} and the Java client's one")


def _wait_for_source(hub, source, timeout_s):
    def row():
        rows = [r for r in hub.read("routes")["items"] if r["topic"] == TOPIC and r["source"] == source]
        return rows[0] if rows else None
    route = wait_until(row, timeout_s, f"the source {source} in rmqhub routes", 0.2)
    check(route["brokers"] == 1 and route["write_queues"] == 4,
          f"rmqhub routes: source {route['source']}, fetched {route['fetched_age_ms']} ms ago, {route['write_queues']} queues on {route['brokers']} broker")
