"""Two nameservers and two brokers, each killed and started again in turn while producers send. Nobody is told anything untrue,
nobody waits beyond a deadline, a nameserver's death is not noticed at all, and what was on the wire to a killed broker is
resolved at once."""

import time

import ledger
from hub_process import Hub, LedgerProducer, finish_all, total_lines
from processes import check, wait_until
from servers import RealServers

TITLE = "two brokers and two nameservers, each killed and restarted under load"
REAL_SERVERS_ONLY = True
PROCESSES = 4
RATE = 100
TIMEOUT_MS = 10000
DEAD_S = 2.5
OVERDUE_MS = 50          # what the library allows itself
RESOLVED_WITHIN_MS = 500  # of a kill; measured from outside, on a busy machine
SETTINGS = {"poll_name_server_interval_ms": 2000, "heartbeat_broker_interval_ms": 5000}   # so that each meets the others' deaths
GROUP = "servers-killed"
TOPIC = "ServersKilled"


def run(bench):
    with RealServers(bench.server.version, bench.server.jars, namesrvs=2, brokers=2, heap="384m") as server, \
            Hub.configured(bench.bin_dir, bench.work_dir, {"namesrv_addr": server.namesrv, **SETTINGS}) as hub:
        producers = [LedgerProducer(hub, bench.work_dir, f"p{i}", GROUP, TOPIC, count=1000000, rate=RATE, in_flight=64, timeout=TIMEOUT_MS,
                                    mode=("sync", "async")[i % 2]).start() for i in range(PROCESSES)]
        for i in range(2):
            _wait_for_answers(hub, server, producers, i)
        for i in range(2):
            _kill_nameserver(server, producers, i)
        for i in range(2):
            _kill_broker(hub, server, producers, i)
        for p in producers:
            p.process.terminate()   # no more messages; what is open is waited for
        statuses = finish_all(producers, 60)
        check(set(statuses.values()) <= {0, 1, 7}, f"all {PROCESSES} producers came to their end: exit statuses {sorted(statuses.values())}")
        overdue = max(p.summary()["worst_overdue_us"] for p in producers) / 1000
        check(overdue <= OVERDUE_MS, f"no answer came more than {OVERDUE_MS} ms after its deadline: at most {overdue:.1f} ms")
        entries = [e for p in producers for e in p.entries()]
        for namesrv in server.namesrvs:
            server.wait_for_route(namesrv, TOPIC, {server.broker_name(i) for i in range(2)})
        stored = bench.java.read_back(server.namesrv, TOPIC)
        check({m.broker for m in stored} == {server.broker_name(i) for i in range(2)}, f"messages in {sorted({m.broker for m in stored})}")
        ledger.check_promises(entries, stored)


def _stored_by(hub, server, i):
    """How many messages the hub has had stored by a broker."""
    return sum(int(r["stored"]) for r in hub.read("brokers")["items"] if r["address"].endswith(f":{server.ports[i]}"))


def _wait_for_answers(hub, server, producers, i):
    before = _stored_by(hub, server, i)
    wait_until(lambda: _stored_by(hub, server, i) > before + 100, 90, f"{server.broker_name(i)} to store messages", 0.2)
    check(all(p.process.poll() is None for p in producers), f"{server.broker_name(i)} stores, and all {PROCESSES} producers send")


def _outcomes(producers):
    entries = [e for p in producers for e in p.entries()]
    return {name: ledger.count(entries, name) for name in ("STORED", "NOT_STORED", "UNKNOWN")}


def _kill_nameserver(server, producers, i):
    before = _outcomes(producers)
    server.kill_namesrv(i)
    time.sleep(DEAD_S)
    server.start_namesrv(i)
    # Brokers register again within 30 s; until then this nameserver knows no route, and the hub must not believe it.
    time.sleep(DEAD_S)
    after = _outcomes(producers)
    check(after["STORED"] > before["STORED"] and (after["NOT_STORED"], after["UNKNOWN"]) == (before["NOT_STORED"], before["UNKNOWN"]),
          f"nameserver {i} killed and restarted: before {before}, after {after}")


class Open:
    """The asynchronous sends without an answer at one moment, and when each gets its own."""

    def __init__(self, producers):
        self.waiting = {}   # ledger: (read so far, open numbers)
        for p in producers:
            text = p.path.read_text()
            text = text[:text.rfind("\n") + 1]
            lines = [line.split(" ", 2)[:2] for line in text.splitlines()]
            self.waiting[p.path] = [len(text.encode()), {n for k, n in lines if k == "S"} - {n for k, n in lines if k == "R"}]

    def __len__(self):
        return sum(len(numbers) for _, numbers in self.waiting.values())

    def look(self):
        """Takes those that have ended out; true when none is left."""
        for path, state in self.waiting.items():
            with open(path, "rb") as file:
                file.seek(state[0])
                data = file.read()
            data = data[:data.rfind(b"\n") + 1]
            state[0] += len(data)
            state[1] -= {line.split(" ", 2)[1] for line in data.decode().splitlines() if line.startswith("R ")}
        return len(self) == 0


def _kill_broker(hub, server, producers, i):
    server.freeze(True, i)
    try:
        started = total_lines(producers, "S") - total_lines(producers, "R")
        wait_until(lambda: total_lines(producers, "S") - total_lines(producers, "R") > started + 20, 30, "requests that a frozen broker does not answer")
        open_sends = Open(producers)
        pending = len(open_sends)
    finally:
        killed = time.monotonic()
        server.kill_broker(i)
    gone_ms = (time.monotonic() - killed) * 1000
    wait_until(open_sends.look, TIMEOUT_MS / 1000, "the sends that were open at the kill", 0.002)
    took_ms = (time.monotonic() - killed) * 1000
    check(took_ms < RESOLVED_WITHIN_MS, f"{server.broker_name(i)} killed: {pending} open sends resolved {took_ms:.0f} ms after SIGKILL; the kernel had ended it after {gone_ms:.0f} ms")
    time.sleep(DEAD_S)
    server.start_broker(i)
    _wait_for_answers(hub, server, producers, i)
