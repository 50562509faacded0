"""rmqhubd and the producers behind it, as processes, and what the kernel says about the hub's connections."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import ledger
from processes import CheckFailed, run, spawn, stop, tail, wait_until

TCP_ESTABLISHED = "01"
NO_TABLE = 3   # rmqhub's exit status


class Hub:
    """One hub on its own runtime and state directory, which outlive its restarts. A context manager."""

    def __init__(self, bin_dir, work_dir, namesrv, config=None, name="rmqhubd"):
        self.bin_dir = bin_dir
        self.log = work_dir / f"{name}.log"
        self.namesrv = namesrv   # None: those of the configuration file
        self.config = config     # a configuration file
        # Not below work_dir: a Unix socket's path has room for 107 bytes.
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="rmqhub-"))
        self.runtime_dir = self.base / "run"
        self.process = None

    @classmethod
    def configured(cls, bin_dir, work_dir, cluster, hub=None, name="rmqhubd"):
        """A hub with a configuration file of its own: the keys of [cluster default] and, if any, of [hub]."""
        sections = {"hub": hub or {}, "cluster default": cluster}
        lines = [line for title, keys in sections.items() for line in (f"[{title}]", *(f"{key} = {value}" for key, value in keys.items()))]
        config = work_dir / f"{name}.conf"
        config.write_text("\n".join(lines) + "\n")
        return cls(bin_dir, work_dir, None, config, name)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, failure, *_):
        alive = self.process.poll() is None
        self.close()
        if failure is None and alive and self.process.returncode != 0:
            raise CheckFailed(f"rmqhubd ended with status {self.process.returncode} after SIGTERM:\n{tail(self.log)}")

    def close(self):
        stop(self.process)
        shutil.rmtree(self.base, ignore_errors=True)

    def start(self):
        """Starts the hub and waits until it accepts attaches."""
        program = self.bin_dir / "rmqhubd"
        if not program.exists():
            raise CheckFailed(f"{program} does not exist")
        argv = [program, "--runtime-dir", self.runtime_dir, "--state-dir", self.base / "state"]
        argv += ["--namesrv", self.namesrv] if self.namesrv else []
        argv += ["--config", self.config] if self.config else []
        self.process = spawn(argv, self.log)

        def up():
            if self.process.poll() is not None:
                raise CheckFailed(f"rmqhubd ended with status {self.process.returncode}:\n{tail(self.log)}")
            return _listens(self.runtime_dir / "hub.sock")
        wait_until(up, 10, "rmqhubd to listen", 0.005)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        stop(self.process)

    def broker_connections(self, ports):
        """Local ports of the hub's established connections to any of the given remote ports."""
        return sorted(c[0] for c in tcp_connections(self.process.pid) if c[1] in ports)

    @staticmethod
    def cli_at(bin_dir, runtime_dir, *args):
        """`rmqhub ARGS` on some runtime directory, as a CompletedProcess."""
        return run([bin_dir / "rmqhub", *args, "--runtime-dir", runtime_dir])

    def cli(self, *args):
        return self.cli_at(self.bin_dir, self.runtime_dir, *args)

    def read(self, verb):
        """The JSON of one reading verb. A hub that has just started publishes its table within a second."""
        result = wait_until(lambda: (r := self.cli(verb, "--json")).returncode != NO_TABLE and r, 3, "the hub to publish its table")
        if result.returncode != 0:
            raise CheckFailed(f"rmqhub {verb} ended with status {result.returncode}: {result.stderr}")
        return json.loads(result.stdout)


def _socket_inodes(pid):
    inodes = set()
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except FileNotFoundError:   # closed while we looked
            continue
        if target.startswith("socket:["):
            inodes.add(target[len("socket:["):-1])
    return inodes


def _listens(path):
    """True when a living hub accepts at path (the socket file of a killed one refuses)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        try:
            s.connect(str(path))
            return True
        except OSError:
            return False


def tcp_connections(pid):
    """(local port, remote port) of each established TCP connection of a process."""
    inodes = _socket_inodes(pid)
    found = []
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == TCP_ESTABLISHED and fields[9] in inodes:
                found.append((int(fields[1].split(":")[1], 16), int(fields[2].split(":")[1], 16)))
    return found


class LedgerProducer:
    """One tests/support/ledger_producer, which can be killed and started again where its ledger ends."""

    def __init__(self, hub, work_dir, name, group, topic, **options):
        self.hub = hub
        self.name = name
        self.path = work_dir / f"{name}.ledger"
        self.log = work_dir / f"{name}.out"
        self.count = options["count"]
        self.argv = [hub.bin_dir / "ledger_producer", "--runtime-dir", hub.runtime_dir, "--group", group, "--topic", topic,
                     "--name", name, "--ledger", self.path]
        for option, value in options.items():
            self.argv += [f"--{option.replace('_', '-')}"] + ([] if value is True else [value])
        self.process = None

    def start(self, resume=False):
        self.process = spawn(self.argv + (["--resume"] if resume else []), self.log)
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def entries(self):
        return list(ledger.read(self.path, self.name).values()) if self.path.exists() else []

    def finish(self, timeout_s):
        """Waits for its end and returns the exit status: 0 all stored, 1 some not, 7 some unknown."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"{self.name} did not end within {timeout_s} s: {tail(self.log)}") from None

    def summary(self):
        """The numbers that it printed when it ended, by name."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("name=")]
        if not lines:
            raise CheckFailed(f"{self.name} printed no summary: {tail(self.log)}")
        return {k: v if k == "name" else int(v) for k, v in (pair.split("=") for pair in lines[-1].split())}


def finish_all(producers, timeout_s):
    """{name: exit status} of all of them."""
    try:
        return {p.name: p.finish(timeout_s) for p in producers}
    finally:
        for p in producers:
            stop(p.process, 2)


def total_lines(producers, kind):
    """How many ledger lines of a kind ("S", "R") there are by now."""
    return sum(p.path.read_text().count(f"\n{kind} ") for p in producers if p.path.exists())
