"""Twenty processes send through one hub; the Java client reads back exactly what they sent, over one connection."""

import ledger
import message_rule
from hub_process import Hub, LedgerProducer, finish_all
from processes import check

TITLE = "20 processes x 500 messages through one hub, read back by the Java client"
PROCESSES = 20
EACH = 500
SIZE = 200
GROUP = "many-producers"
TOPIC = "ManyProducers"


def run(bench):
    with Hub(bench.bin_dir, bench.work_dir, bench.server.namesrv) as hub:
        # Half of them synchronous, half asynchronous; half with UNIQ_KEYs made by the library.
        producers = [LedgerProducer(hub, bench.work_dir, f"p{i}", GROUP, TOPIC, count=EACH, size=SIZE, properties=True,
                                    mode=("sync", "async")[i % 2], **({"library_keys": True} if i % 4 < 2 else {}))
                     for i in range(PROCESSES)]
        for producer in producers:
            producer.start()
        statuses = finish_all(producers, 120)
        entries = [e for p in producers for e in p.entries()]
        check(set(statuses.values()) == {0}, f"exit status 0 of {list(statuses.values()).count(0)} of {PROCESSES} processes; not stored: {ledger.reasons(entries)}")
        _check_connections(bench, hub)
    stored = bench.java.read_back(bench.server.namesrv, TOPIC)
    ledger.check_promises(entries, stored)
    _check_equal(entries, stored)


def _check_connections(bench, hub):
    local_ports = hub.broker_connections(bench.server.broker_ports)
    check(len(local_ports) == 1, f"the kernel shows one connection from the hub to the broker: local ports {local_ports}")
    rows = bench.java.producer_connections(bench.server.namesrv, GROUP, TOPIC)
    check(len(rows) == 1 and int(rows[0].address.rsplit(":", 1)[1]) in local_ports,
          f"producerConnection shows one connection for the group, the same: {[tuple(r) for r in rows]}")


def _check_equal(entries, stored):
    """Compares with the rule of the test messages, not with what the producers say they sent."""
    total = PROCESSES * EACH
    by_key = {m.uniq_key: m for m in stored}
    check(len(stored) == len(by_key) == total, f"read back {len(stored)}, distinct {len(by_key)}, sent {total}")
    pairs = [(e, by_key[e.uniq_key]) for e in entries]
    bodies = sum((m.crc, m.length) == (message_rule.body_crc(e.name, e.seq, SIZE), SIZE) for e, m in pairs)
    keys = sum(m.keys == message_rule.keys(e.name, e.seq) for e, m in pairs)
    tags = sum(m.tags == message_rule.tags(e.seq) for e, m in pairs)
    properties = sum(m.properties == message_rule.properties(e.name, e.seq) for e, m in pairs)
    check(bodies == keys == tags == properties == total, f"equal bodies {bodies}, keys {keys}, tags {tags}, properties {properties} of {total}")
    queues = {m.queue for m in stored}
    check(len(queues) > 1, f"spread over {len(queues)} queues")
