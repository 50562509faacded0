"""rmqhub-devbroker as a process with its control socket, and its log of what it stored and saw (tests/devbroker/README.md)."""
import socket
import typing

from processes import CheckFailed, spawn, stop, tail, wait_until


class Stored(typing.NamedTuple):
    """One stored message."""
    time_ms: int
    connection: int
    uniq_key: str
    topic: str
    broker: str
    queue: int
    offset: int
    length: int
    crc: int


class Event(typing.NamedTuple):
    """Something that happened to a connection: accept, close, register, unregister, heartbeat, ..."""
    kind: str
    time_ms: int
    connection: int
    details: str


class Log(typing.NamedTuple):
    """What the broker knows, in the order in which it happened."""
    stored: list
    events: list


def parse_log(text):
    stored, events = [], []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        kind, time_ms, connection, *fields = line.split("\t")
        if kind == "stored":
            key, topic, broker, *numbers = fields
            stored.append(Stored(int(time_ms), int(connection), key, topic, broker, *map(int, numbers)))
        else:
            events.append(Event(kind, int(time_ms), int(connection), fields[0]))
    return Log(stored, events)


class DevBroker:
    """Nameserver and brokers on free ports. A context manager; work_dir takes its log and its control socket."""

    def __init__(self, bin_dir, work_dir, *options):
        self.program = bin_dir / "rmqhub-devbroker"
        self.work_dir = work_dir
        self.output = work_dir / "devbroker.out"
        self.control = work_dir / "devbroker.sock"
        self.options = options
        self.process, self.namesrv, self.broker_ports = None, None, []

    def __enter__(self):
        if not self.program.exists():
            raise CheckFailed(f"{self.program} does not exist")
        self.process = spawn([self.program, "--control", self.control, *self.options], self.output)

        def ready():
            if self.process.poll() is not None:
                raise CheckFailed(f"rmqhub-devbroker ended with status {self.process.returncode}: {tail(self.output)}")
            return self.output.exists() and "broker " in self.output.read_text(encoding="utf-8")
        wait_until(ready, 10, "rmqhub-devbroker", 0.005)
        for line in self.output.read_text(encoding="utf-8").splitlines():
            kind, *_, address = line.split()
            if kind == "nameserver":
                self.namesrv = address
            elif kind == "broker":
                self.broker_ports.append(int(address.split(":")[1]))
        return self

    def __exit__(self, *_):
        stop(self.process)

    def command(self, text):
        """One command on the control socket; returns the lines of the answer."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(30)
            peer.connect(str(self.control))
            peer.sendall(f"{text}\n".encode())
            lines = []
            for line in peer.makefile("r", encoding="utf-8"):
                line = line.rstrip("\n")
                if line == "ok":
                    return lines
                if line.startswith("error"):
                    raise CheckFailed(f"devbroker: {text}: {line}")
                lines.append(line)
        raise CheckFailed(f"devbroker: {text}: the connection ended before the answer")

    def log(self):
        path = self.work_dir / "devbroker.log"
        self.command(f"log {path}")
        return parse_log(path.read_text(encoding="utf-8"))
