#!/usr/bin/env python3
"""Compares two traces of recording_proxy.py: the Java client's and the hub's, over the same scenario against the same servers.

    compare.py JAVA_TRACE JAVA_MARKS HUB_TRACE HUB_MARKS     prints the facts in which they differ
    compare.py --table                                      prints differences.json as the table in ARCHITECTURE.md

Every difference is one line of text, a fact. differences.json lists the intended ones, each by a regular expression that must
match a whole fact, and with its reason. A fact that no entry matches fails, and so does an entry that matches no fact."""

import collections
import dataclasses
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))

import client_trace
from remoting_frame import GET_ROUTEINFO_BY_TOPIC, HEART_BEAT, SEND_MESSAGE_V2, UNREGISTER_CLIENT

DIFFERENCES = pathlib.Path(__file__).with_name("differences.json")
CODES = {GET_ROUTEINFO_BY_TOPIC: "GET_ROUTEINFO_BY_TOPIC", HEART_BEAT: "HEART_BEAT", UNREGISTER_CLIENT: "UNREGISTER_CLIENT",
         SEND_MESSAGE_V2: "SEND_MESSAGE_V2", 204: "GET_PRODUCER_CONNECTION_LIST"}
# What distinguishes requests of one code: its ext field that names what they are about.
SUBJECT = {GET_ROUTEINFO_BY_TOPIC: "topic", UNREGISTER_CLIENT: "producerGroup", SEND_MESSAGE_V2: "b", 204: "producerGroup"}

# The scheduled tasks of spec 6.4 that reach the wire: request code, delay of the first run after the start in seconds.
SCHEDULE = {GET_ROUTEINFO_BY_TOPIC: 0.010, HEART_BEAT: 1.0}
LONG_PERIOD_S = 10
PERIOD_TOLERANCE = 0.10

MARKER_GROUP = re.compile(r"RMQHUB_[0-9a-f]{16}")
CLIENT_ID = re.compile(r"\d+\.\d+\.\d+\.\d+@\d+#\d+")     # ip@pid#nanotime
UNIQ_KEY = re.compile(r"[0-9A-F]{32}([0-9A-F]{24})?")
BORN_TOLERANCE_MS = 2000
UNMATCHED_COST_S = 8                                       # of an alignment: pairs further apart than twice this are no pairs


class Names:
    """Texts that are one run's own, and what they are called in facts. The client id is learnt from the first heartbeat."""

    def __init__(self, trace, own):
        self.own = dict(own)
        bodies = [r.frame["body"] for c in trace.connections for r in c.requests if r.frame["code"] == HEART_BEAT]
        client_id = parse_json(bodies[0]).get("clientID", "") if bodies else ""
        shape = "" if CLIENT_ID.fullmatch(client_id) else f" of another shape, {client_id!r}"
        self.own[client_id] = f"<client id{shape}>"

    def called(self, text):
        return "<marker group>" if MARKER_GROUP.fullmatch(text) else self.own.get(text, text)


def parse_json(body):
    try:
        return json.loads(body.encode("latin-1"))
    except ValueError:
        return {"no JSON": body}


# --- one request, as facts name it ----------------------------------------------------------------------------------------

def kind(request, names):
    frame = request.frame
    name = CODES.get(frame["code"], f"code {frame['code']}")
    subject = SUBJECT.get(frame["code"])
    return f"{name}({names.called(frame['ext'].get(subject, 'none'))})" if subject else name


def _properties(text):
    pairs = [pair.split("\x01", 1) for pair in text.split("\x02") if pair]
    return {f"property.{p[0]}": p[1] if len(p) == 2 else "no value" for p in pairs}


def _ranges(frame, name, value):
    """A value that differs from send to send is replaced by the rule it follows; one that breaks the rule stays."""
    if name == "property.UNIQ_KEY" and UNIQ_KEY.fullmatch(value):
        return "<an id>"   # 32 or 56 digits: that depends on the addresses of the machine
    if frame["code"] == SEND_MESSAGE_V2 and name == "ext.e" and value.isdigit() and int(value) < int(frame["ext"].get("d", 0)):
        return "<a queue>"
    if frame["code"] == SEND_MESSAGE_V2 and name == "ext.g" and value.isdigit() and abs(int(value) - frame["wall_ms"]) < BORN_TOLERANCE_MS:
        return "<now>"
    return value


def _flatten(value, path, names, out):
    """The leaves of a JSON value; the elements of a list are named by their content, because their order means nothing."""
    if isinstance(value, dict) and value:
        for key, member in value.items():
            _flatten(member, f"{path}.{key}", names, out)
    elif isinstance(value, list):
        out[path] = f"{'' if value else 'empty '}list"
        for element in value:
            leaves = {}
            _flatten(element, "", names, leaves)
            text = ", ".join(f"{k.lstrip('.')} {v}".strip() for k, v in sorted(leaves.items()))
            number = sum(name.startswith(f"{path}[{text}]") for name in out)
            out[f"{path}[{text}]" + (f" again {number}" if number else "")] = "present"
    else:
        out[path] = names.called(value) if isinstance(value, str) else json.dumps(value)


def fields(request, names):
    """Everything in a request that is compared, by name."""
    frame = request.frame
    out = {name: str(frame[name]) for name in ("encoding", "language", "version", "flag", "remark")}
    for name, value in frame["ext"].items():
        if frame["code"] == SEND_MESSAGE_V2 and name == "i":
            out.update({k: _ranges(frame, k, v) for k, v in _properties(value).items()})
        else:
            out[f"ext.{name}"] = _ranges(frame, f"ext.{name}", names.called(value))
    if frame["code"] == HEART_BEAT:
        _flatten(parse_json(frame["body"]), "body", names, out)
    else:
        out["body"] = frame["body"] or "none"
    out["answer"] = str(request.answer["code"]) if request.answer else "none"
    return out


# --- which request of one run is which of the other ---------------------------------------------------------------------------

def align(java, hub, names_java, names_hub, by_time):
    """Pairs (java or None, hub or None) in order, at the least cost: only requests of one kind are pairs; by_time, the nearest are."""
    kinds_java, kinds_hub = [kind(r, names_java) for r in java], [kind(r, names_hub) for r in hub]
    best = {(len(java), len(hub)): (0.0, None)}
    for i in range(len(java), -1, -1):
        for j in range(len(hub), -1, -1):
            choices = []
            if i < len(java):
                choices.append((best[i + 1, j][0] + UNMATCHED_COST_S, (i + 1, j)))
            if j < len(hub):
                choices.append((best[i, j + 1][0] + UNMATCHED_COST_S, (i, j + 1)))
            if i < len(java) and j < len(hub) and kinds_java[i] == kinds_hub[j]:
                apart = abs(java[i].at_s - hub[j].at_s) if by_time else 0.0
                choices.append((best[i + 1, j + 1][0] + apart, (i + 1, j + 1)))
            if choices:
                best[i, j] = min(choices)
    pairs, at = [], (0, 0)
    while best[at][1] is not None:
        following = best[at][1]
        pairs.append((java[at[0]] if following[0] > at[0] else None, hub[at[1]] if following[1] > at[1] else None))
        at = following
    return pairs


@dataclasses.dataclass
class Matched:
    """What was found to be the same on one connection."""
    pairs: int = 0
    times: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(list))   # kind: [(java, hub) in seconds], of the tasks
    periods: list = dataclasses.field(default_factory=list)                                  # (kind, java, hub) in seconds


# --- facts ----------------------------------------------------------------------------------------------------------------------

def _pair_facts(java, hub, names_java, names_hub):
    name = kind(java, names_java)
    left, right = fields(java, names_java), fields(hub, names_hub)
    for field in sorted(left.keys() | right.keys()):
        if left.get(field) != right.get(field):
            yield f"{name} {field}: {left.get(field, 'absent')} -> {right.get(field, 'absent')}"


def _phase_facts(role, phase, java, hub, names_java, names_hub, matched):
    for one, other in align(java, hub, names_java, names_hub, by_time=phase == "start"):
        if other is None:
            yield f"{role}, {phase}: missing {kind(one, names_java)}"
        elif one is None:
            yield f"{role}, {phase}: more {kind(other, names_hub)}"
        else:
            matched.pairs += 1
            yield from _pair_facts(one, other, names_java, names_hub)
            if phase == "start":
                matched.times[kind(one, names_java)].append((one.at_s, other.at_s))


def _time_facts(role, matched):
    """First runs and periods of what the tasks sent on one connection."""
    for name, times in matched.times.items():
        delay = next((d for code, d in SCHEDULE.items() if name.startswith(CODES[code])), None)
        if delay is not None and times[0][1] < delay:
            yield f"{role}: first {name} earlier than the {delay} s of its schedule"
        for (java, hub), (next_java, next_hub) in zip(times, times[1:]):
            period_java, period_hub = next_java - java, next_hub - hub
            if period_java < LONG_PERIOD_S and period_hub < LONG_PERIOD_S:
                continue
            matched.periods.append((name, period_java, period_hub))
            if abs(period_hub - period_java) > PERIOD_TOLERANCE * period_java:
                yield f"{role}: {name} every {period_java:.1f} s -> every {period_hub:.1f} s"


def _first_runs(matched_of, side):
    """The kinds that tasks sent, in the order of their first runs."""
    firsts = {name: times[0][side] for matched in matched_of for name, times in matched.times.items()}
    return sorted(firsts, key=firsts.get)


def _connection_facts(java, hub, names_java, names_hub, matched):
    role = java.role
    for phase in ("before the start", *client_trace.PHASES):
        yield from _phase_facts(role, phase, [r for r in java.requests if r.phase == phase], [r for r in hub.requests if r.phase == phase],
                                names_java, names_hub, matched)
    yield from _time_facts(role, matched)
    for what, left, right in (("end", java.end, hub.end), ("strays", sorted(java.strays), sorted(hub.strays)),
                              ("requests of the server", [p["code"] for p in java.pushes], [p["code"] for p in hub.pushes])):
        if left != right:
            yield f"{role}: {what}: {left} -> {right}"


def compare(java, hub, names_java, names_hub):
    """(facts, summary lines). The names are {text of this run: what both call it}, such as topics."""
    facts, summary, matched_of = [], [], []
    own_java, own_hub = Names(java, names_java), Names(hub, names_hub)
    servers = [sorted(collections.Counter((c.role, c.server) for c in t.connections).items()) for t in (java, hub)]
    if servers[0] != servers[1]:
        facts.append(f"connections: {servers[0]} -> {servers[1]}")
    opened = [list(dict.fromkeys((c.role, c.server) for c in t.connections)) for t in (java, hub)]
    if opened[0] != opened[1]:
        facts.append(f"order of connections: {opened[0]} -> {opened[1]}")
    remaining = list(hub.connections)
    for left in java.connections:
        right = next((c for c in remaining if (c.role, c.server) == (left.role, left.server)), None)
        if right is None:
            continue
        remaining.remove(right)
        matched = Matched()
        facts += _connection_facts(left, right, own_java, own_hub, matched)
        matched_of.append(matched)
        summary.append(f"{left.role} {left.server}: {len(left.requests)} requests of Java, {len(right.requests)} of the hub, {matched.pairs} compared pair by pair")
        summary += [f"{left.role}: {name} every {one:.2f} s, the hub {two:.2f} s" for name, one, two in matched.periods]
    order = [_first_runs(matched_of, side) for side in (0, 1)]
    if order[0] != order[1]:
        facts.append(f"order of first runs: {order[0]} -> {order[1]}")
    return facts, summary


# --- the list -------------------------------------------------------------------------------------------------------------------

def load_differences():
    return json.loads(DIFFERENCES.read_text(encoding="utf-8"))


def judge(facts, differences):
    """(failures, {id: facts that it explains}). A fact may be explained once; an entry must explain something."""
    explained = {entry["id"]: [] for entry in differences}
    failures = []
    for fact in facts:
        ids = [entry["id"] for entry in differences if re.fullmatch(entry["fact"], fact)]
        for name in ids:
            explained[name].append(fact)
        if len(ids) != 1:
            failures.append(f"not listed: {fact}" if not ids else f"listed more than once ({', '.join(ids)}): {fact}")
    for entry in differences:
        found, most = len(explained[entry["id"]]), entry.get("times")
        if found == 0:
            failures.append(f"listed, but does not occur any more: {entry['id']} ({entry['fact']})")
        elif most is not None and found != most:
            failures.append(f"listed {most} times, occurs {found} times: {entry['id']}")
    return failures, explained


def table(differences):
    """The list as ARCHITECTURE.md shows it."""
    rows = [f"| {entry['id']} | {entry['what']} | {entry['reason']} |" for entry in differences]
    return "\n".join(["| difference | on the wire | why |", "|---|---|---|", *rows]) + "\n"


def main():
    if sys.argv[1:] == ["--table"]:
        sys.stdout.write(table(load_differences()))
        return 0
    sides = []
    for path, marks in (sys.argv[1:3], sys.argv[3:5]):
        sides.append(client_trace.build(client_trace.read_rows(path), client_trace.read_marks(pathlib.Path(marks).read_text(encoding="utf-8"))))
    facts, summary = compare(*sides, {}, {})
    print("\n".join(summary + sorted(set(facts))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
