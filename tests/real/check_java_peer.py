"""The unmodified Java client against the server alone, without a hub: it sends in every mode, reads all of it back
equal, and mqadmin sees it come and go. For devbroker this is the proof that it speaks RocketMQ's protocol; for the
real servers it proves the instruments that the other checks rely on."""

import message_rule
from processes import check, stop, wait_until

TITLE = "the unmodified Java client sends, reads back and is seen by mqadmin"
COUNT = 200
SIZE = 300


def run(bench):
    for mode in ("sync", "async", "oneway", "batch"):
        _send_and_read_back(bench, mode)
    _producer_connection(bench)


def _send_and_read_back(bench, mode):
    namesrv, name, topic = bench.server.namesrv, f"java-{mode}", f"JavaPeer-{mode}"
    sent = bench.java.send(namesrv, "java-peer", topic, name, COUNT, SIZE, mode)
    if mode != "oneway":
        ok = sum(s.status == "SEND_OK" for s in sent)
        check(ok == COUNT, f"{mode}: SEND_OK for {ok} of {COUNT} messages")
    # Nobody says when a oneway message has arrived.
    stored = wait_until(lambda: _read_if_complete(bench, topic), 20, f"{COUNT} {mode} messages in the broker", 0.5)
    by_key = {m.uniq_key: m for m in stored}
    found = [(s, by_key[s.uniq_key]) for s in sent if s.uniq_key in by_key]
    check(len(stored) == len(by_key) == len(found) == COUNT,
          f"{mode}: sent {COUNT}, read back {len(stored)}, distinct {len(by_key)}, with a UNIQ_KEY that was sent {len(found)}")
    bodies = sum(m.crc == message_rule.body_crc(name, s.seq, SIZE) and m.length == SIZE for s, m in found)
    texts = sum(m.keys == message_rule.keys(name, s.seq) and m.tags == message_rule.tags(s.seq)
                and m.properties == message_rule.properties(name, s.seq) for s, m in found)
    check(bodies == texts == COUNT, f"{mode}: equal bodies {bodies}, equal keys, tags and properties {texts}")
    if mode != "oneway":
        places = sum((s.queue, s.offset) == (str(m.queue), str(m.offset)) for s, m in found)
        check(places == COUNT, f"{mode}: stored in the queue and at the offset that the reply named {places}")


def _read_if_complete(bench, topic):
    stored = bench.java.read_back(bench.server.namesrv, topic)
    return stored if len(stored) >= COUNT else None


def _producer_connection(bench):
    namesrv, group, topic = bench.server.namesrv, "java-peer-holder", "JavaPeer-sync"
    holder = bench.java.holding_sender(namesrv, group, topic, 60000)
    try:
        # A heartbeat of the client's own schedule may hold the lock just then; ours is skipped and that one registers the group.
        connections = wait_until(lambda: bench.java.producer_connections(namesrv, group, topic), 20, "the group to be registered", 0.2)
        check(len(connections) == 1 and connections[0].language == "JAVA" and connections[0].version == "V4_9_3",
              f"producerConnection: one connection of a Java 4.9.3 client: {[tuple(c) for c in connections]}")
    finally:
        stop(holder)
    connections = bench.java.producer_connections(namesrv, group, topic)
    check(not connections, f"producerConnection after the client's end: {len(connections)} connections")
