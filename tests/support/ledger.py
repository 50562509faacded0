"""Reads the ledgers of tests/support/ledger_producer.c (their format stands there) and holds them against a broker."""

import collections
import dataclasses

from processes import check


@dataclasses.dataclass
class Entry:
    """What one producer wrote about one message."""
    name: str
    seq: int
    uniq_key: str = "-"
    crc: int = 0
    length: int = 0
    accepted: int = 0                                   # S lines
    refused: int = 0                                    # X lines
    results: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Result:
    """One completion."""
    outcome: str
    send_status: str
    code: int
    attempts: int
    maybe_duplicated: bool
    queue: int
    offset: int
    uniq_key: str
    reason: str


def read(path, name):
    """The entries of one ledger, by seq. A last line that is still being written is left out."""
    entries = {}
    for line in path.read_text().split("\n")[:-1]:
        kind, seq, *fields = line.split(" ")
        entry = entries.setdefault(int(seq), Entry(name, int(seq)))
        if kind in "IS":
            entry.uniq_key, entry.crc, entry.length = fields[0], int(fields[1]), int(fields[2])
            entry.accepted += kind == "S"
        elif kind == "X":
            entry.refused += 1
        elif kind == "R":
            outcome, status, code, attempts, duplicated, queue, offset, key = fields[:8]
            entry.results.append(Result(outcome, status, int(code), int(attempts), duplicated == "1", int(queue), int(offset), key,
                                        " ".join(fields[8:])))
            if entry.uniq_key == "-":
                entry.uniq_key = key
    return entries


def count(entries, outcome):
    return sum(r.outcome == outcome for e in entries for r in e.results)


def reasons(entries):
    """Why messages were not stored, with how often, the most frequent first."""
    seen = collections.Counter(f"{r.outcome} {r.code} {r.reason}" for e in entries for r in e.results if r.outcome != "STORED")
    return "; ".join(f"{n} x {why}" for why, n in seen.most_common(4)) or "none"


def check_promises(entries, stored, died=frozenset()):
    """The promises that hold whatever was killed, for all entries of all ledgers and all that was read back.
    died: names of producers that were killed, whose last messages nobody was left to be told about."""
    in_broker = collections.defaultdict(list)
    for message in stored:
        in_broker[message.uniq_key].append(message)
    accepted = [e for e in entries if e.accepted]

    ended = [e for e in accepted if len(e.results) == 1]
    untold = [e for e in accepted if not e.results and e.name in died]
    check(len(ended) + len(untold) == len(accepted) and not any(e.results and not e.accepted for e in entries),
          f"exactly one completion each: accepted {len(accepted)}, with one completion {len(ended)}, "
          f"with none because their process was killed {len(untold)}, with more than one {sum(len(e.results) > 1 for e in accepted)}")
    check(len({e.uniq_key for e in accepted}) == len(accepted), f"distinct UNIQ_KEYs among the accepted {len({e.uniq_key for e in accepted})}")

    said_stored = [e for e in ended if e.results[0].outcome == "STORED"]
    kept = [e for e in said_stored if in_broker[e.uniq_key]]
    check(len(kept) == len(said_stored), f"STORED is in the broker: STORED {len(said_stored)}, of these read back {len(kept)}")
    placed = [e for e in said_stored if any((m.queue, m.offset) == (e.results[0].queue, e.results[0].offset) for m in in_broker[e.uniq_key])]
    check(len(placed) == len(said_stored), f"... in the queue and at the offset that the result names {len(placed)}")
    said_not = [e for e in ended if e.results[0].outcome == "NOT_STORED"]
    wrong = [e for e in said_not if in_broker[e.uniq_key]]
    check(not wrong, f"NOT_STORED is not in the broker: NOT_STORED {len(said_not)}, of these read back {len(wrong)}")
    unknown = [e for e in ended if e.results[0].outcome == "UNKNOWN"]
    print(f"      .. UNKNOWN {len(unknown)}, of these read back {sum(bool(in_broker[e.uniq_key]) for e in unknown)}; not stored because: {reasons(ended)}")

    by_key = {e.uniq_key: e for e in entries}
    strangers = [k for k in in_broker if in_broker[k] and k not in by_key]
    check(not strangers, f"nothing in the broker that nobody sent: {len(stored)} read back, {len(strangers)} unknown to the ledgers {strangers[:3]}")
    twice = [by_key[k] for k, copies in in_broker.items() if len(copies) > 1]
    unflagged = [e for e in twice if e.name not in died and not (e.results and (e.results[0].maybe_duplicated or e.results[0].outcome == "UNKNOWN"))]
    flagged = sum(e.results[0].maybe_duplicated for e in ended)
    check(not unflagged, f"every duplicate is flagged: stored more than once {len(twice)}, flagged as possible {flagged}, not flagged {len(unflagged)}")
