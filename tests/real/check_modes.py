"""Each way of sending and every size of body, with everything a message can carry, against what arrives."""

import ledger
import message_rule
from hub_process import Hub, LedgerProducer, finish_all
from processes import check, wait_until

TITLE = "sync, async and oneway, small and large bodies, a namespace"
GROUP = "modes"
SIZES = {1: 200, 4000: 200, 60000: 40, 250000: 10}   # body bytes: messages
ARENA_BYTES = 512 * 1024   # holds the bodies of all sends whose results were not dispatched yet


def run(bench):
    with Hub(bench.bin_dir, bench.work_dir, bench.server.namesrv) as hub:
        for mode in ("sync", "async", "oneway"):
            _send_and_compare(bench, hub, mode, f"Modes-{mode}", f"Modes-{mode}")
        _send_and_compare(bench, hub, "sync", "Spaced", "space%Spaced", namespace="space")


def _send_and_compare(bench, hub, mode, topic, stored_topic, **options):
    producers = [LedgerProducer(hub, bench.work_dir, f"{stored_topic.replace('%', '-')}-{size}", GROUP, topic, count=count, size=size, mode=mode,
                                in_flight=max(1, min(64, ARENA_BYTES // 2 // size)), properties=True, **options).start()
                 for size, count in SIZES.items()]
    statuses = finish_all(producers, 120)
    entries = [(size, e) for size, p in zip(SIZES, producers) for e in p.entries()]
    total = sum(SIZES.values())
    check(set(statuses.values()) == {0} and sum(bool(e.accepted) for _, e in entries) == total,
          f"{stored_topic}: exit statuses {sorted(statuses.values())}, accepted {sum(bool(e.accepted) for _, e in entries)} of {total}; "
          f"not stored: {ledger.reasons(e for _, e in entries if mode != 'oneway')}")

    def all_stored():   # nobody says when a oneway message has arrived
        stored = {m.uniq_key: m for m in bench.java.read_back(bench.server.namesrv, stored_topic)}
        return stored if len(stored) >= total or mode != "oneway" else None
    stored = wait_until(all_stored, 20, f"{total} oneway messages in the broker", 0.5)
    found = [(size, e, stored[e.uniq_key]) for size, e in entries if e.uniq_key in stored]
    bodies = sum((m.crc, m.length) == (message_rule.body_crc(e.name, e.seq, size), len(message_rule.body(e.name, e.seq, size))) for size, e, m in found)
    texts = sum((m.keys, m.tags, m.properties) == (message_rule.keys(e.name, e.seq), message_rule.tags(e.seq), message_rule.properties(e.name, e.seq))
                for _, e, m in found)
    check(len(stored) == bodies == texts == total, f"{stored_topic}: read back {len(stored)}, equal bodies {bodies}, equal keys, tags and properties {texts} of {total}")
