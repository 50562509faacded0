"""What recording_proxy.py wrote, as connections with requests and their answers.

Each line of a trace has ns (CLOCK_MONOTONIC), wall_ms, connection and event: open (role, server), request and answer (what passed
from the client and from the server: encoding, code, language, version, opaque, flag, remark, ext, body as Latin-1), close (by, why).
The marks are the producer's: "mark NAME NANOSECONDS" on its standard output, at the borders of its phases."""

import dataclasses
import json
import typing

IS_REPLY, IS_ONEWAY = 1, 2
# Each lasts from its mark to the next: start and idle time, then sends and shutdown. Between the last two a mark would prove
# nothing: a oneway message may still be on its way when the application goes on.
PHASES = ("start", "send")


@dataclasses.dataclass
class Request:
    """One request of the client and what the server said."""
    at_s: float           # since the mark "start"
    phase: str
    frame: dict
    answer: typing.Optional[dict] = None


@dataclasses.dataclass
class Connection:
    """One connection of the client, in the order in which they were opened."""
    role: str
    server: str
    requests: list = dataclasses.field(default_factory=list)
    pushes: list = dataclasses.field(default_factory=list)        # requests of the server
    strays: list = dataclasses.field(default_factory=list)        # answers without a request, opaques used twice
    end: str = "never closed"


@dataclasses.dataclass
class Trace:
    """One run of a client."""
    marks: dict
    connections: list


def read_marks(text):
    words = [line.split() for line in text.splitlines()]
    return {w[1]: int(w[2]) for w in words if len(w) == 3 and w[0] == "mark"}


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def build(rows, marks):
    """A Trace from the rows of a file and the producer's marks."""
    if set(PHASES) - set(marks):
        raise ValueError(f"the run has no mark {sorted(set(PHASES) - set(marks))}")
    connections, pending = {}, {}
    for row in rows:
        number = row["connection"]
        if row["event"] == "open":
            connections[number] = Connection(row["role"], row["server"])
            pending[number] = {}
        elif row["event"] == "close":
            connections[number].end = f"{row['why']} of the {row['by']}"
        else:
            _add_frame(connections[number], pending[number], row, marks)
    return Trace(marks, list(connections.values()))


def _add_frame(connection, pending, row, marks):
    if row["event"] == "answer" and not row["flag"] & IS_REPLY:
        connection.pushes.append(row)
    elif row["flag"] & IS_REPLY:
        request = pending.pop(row["opaque"], None)
        if request is None:
            connection.strays.append(f"{row['event']} with an unknown opaque")
        else:
            request.answer = row
    else:
        phase = [p for p in PHASES if row["ns"] >= marks[p]]
        request = Request((row["ns"] - marks["start"]) / 1e9, phase[-1] if phase else "before the start", row)
        connection.requests.append(request)
        if row["opaque"] in pending:
            connection.strays.append("an opaque that is still in use")
        if not row["flag"] & IS_ONEWAY:
            pending[row["opaque"]] = request
