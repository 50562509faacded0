"""The Java client and the hub do the same before the same servers, each through a recording proxy of its own, and what they put
on the wire is compared (tests/conformance). It lasts 70 s and runs beside the other checks."""

import time

import client_trace
import compare
from hub_process import Hub
from processes import check, spawn, stop, tail, wait_until
from recorded_run import RecordingProxy

TITLE = "the wire traces of the Java client and of the hub, through start, 65 s of idling, sends and shutdown"
REAL_SERVERS_ONLY = True   # whose clients are compared
IDLE_MS = 65000
SETTLE_S = 0.5         # what the last group's leaving brings about comes before the instance's own end
GROUP = "conformance"
KNOWN_TOPIC = "Conformance"
NEW_TOPIC = {"java": "ConformanceNew-java", "hub": "ConformanceNew-hub"}   # each makes its own


class Background:
    """Both clients, each with its proxy."""

    def __init__(self, bench):
        self.bench = bench
        self.processes = []
        self.proxies = {}
        self.hub = None
        self.started = time.monotonic()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        bench = self.bench
        bench.java.send(bench.server.namesrv, "java-peer", KNOWN_TOPIC, "java", 1, 64, "sync")
        for side in ("java", "hub"):
            self.proxies[side] = RecordingProxy(bench.work_dir / f"{side}.trace", [bench.server.namesrv])
        self.hub = Hub.configured(bench.bin_dir, bench.work_dir, {"namesrv_addr": self.proxies["hub"].namesrv}, {"linger_ms": 0})
        self.hub.start()
        self.hub_producer = self._spawn("hub", [bench.bin_dir / "scenario_producer", self.hub.runtime_dir])
        self.java_producer = self._spawn("java", bench.java.command("Scenario", self.proxies["java"].namesrv))

    def _spawn(self, side, argv):
        process = spawn([*argv, GROUP, KNOWN_TOPIC, NEW_TOPIC[side], IDLE_MS], self.marks(side))
        self.processes.append(process)
        return process

    def marks(self, side):
        return self.bench.work_dir / f"{side}.marks"

    def finish(self):
        """Waits until both have come to their end."""
        for side, process in (("java", self.java_producer), ("hub", self.hub_producer)):
            wait_until(lambda p=process: p.poll() is not None, self.started + IDLE_MS / 1000 + 60 - time.monotonic(), f"the end of the scenario ({side})", 0.2)
            check(process.returncode == 0, f"{side}: the scenario ended with status {process.returncode} {tail(self.marks(side)) if process.returncode else ''}")
        time.sleep(SETTLE_S)
        self.hub.stop()

    def trace(self, side):
        marks = client_trace.read_marks(self.marks(side).read_text())
        return client_trace.build(client_trace.read_rows(self.proxies[side].trace), marks)

    def stop(self):
        for process in self.processes:
            stop(process)
        if self.hub is not None:
            self.hub.close()
        for proxy in self.proxies.values():
            proxy.stop()


def start(bench):
    return Background(bench)


def run(bench):
    background = bench.background
    background.finish()
    names = [{NEW_TOPIC[side]: "<new topic>"} for side in ("java", "hub")]
    facts, summary = compare.compare(background.trace("java"), background.trace("hub"), *names)
    for line in summary:
        print(f"      .. {line}")
    failures, explained = compare.judge(facts, compare.load_differences())
    for name, found in explained.items():
        print(f"      .. intended: {name}, {len(found)} times, such as: {found[0] if found else '-'}")
    for failure in failures:
        print(f"      .. {failure}")
    check(not failures, f"differences: {len(facts)} facts, {len(explained)} intended differences explain them, {len(failures)} failures")
