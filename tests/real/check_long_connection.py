"""A broker closes a connection about 120 s after the heartbeats on it stopped naming a group that they once named, and
forgets groups that are not named (spec, hazards 16 and 17). So the hub that started first, with a group that left, one
that lingers and one that stays, is looked at again when all that time has passed."""

import time

from hub_process import Hub, LedgerProducer, finish_all
from processes import check, stop

TITLE = "after more than 120 s: same connection, same registration, and the lingering group has left"
REAL_SERVERS_ONLY = True   # it is their sweep that this is about
WATCH_S = 145
TOPIC = "LongConnection"
STAYING, LEAVING, LINGERING = "long-stays", "long-leaves", "long-lingers"


class Background:
    """Runs beside the other checks."""

    def __init__(self, bench):
        self.hub = Hub(bench.bin_dir, bench.work_dir, bench.server.namesrv).__enter__()
        self.staying = LedgerProducer(self.hub, bench.work_dir, "stays", STAYING, TOPIC, count=1000000, rate=10).start()
        short = [LedgerProducer(self.hub, bench.work_dir, "leaves", LEAVING, TOPIC, count=5, final=True).start(),
                 LedgerProducer(self.hub, bench.work_dir, "lingers", LINGERING, TOPIC, count=5).start()]
        self.statuses = finish_all(short, 60)
        self.started = time.monotonic()
        self.ports = self.hub.broker_connections(bench.server.broker_ports)
        self.rows = bench.java.producer_connections(bench.server.namesrv, STAYING, TOPIC)

    def stop(self):
        stop(self.staying.process)
        self.hub.close()


def start(bench):
    return Background(bench)


def run(bench):
    background = bench.background
    check(set(background.statuses.values()) == {0} and len(background.ports) == 1 and len(background.rows) == 1,
          f"at the start: local ports {background.ports}, registrations {[tuple(r) for r in background.rows]}")
    time.sleep(max(0.0, background.started + WATCH_S - time.monotonic()))
    elapsed = time.monotonic() - background.started
    ports = background.hub.broker_connections(bench.server.broker_ports)
    rows = bench.java.producer_connections(bench.server.namesrv, STAYING, TOPIC)
    check(ports == background.ports, f"{elapsed:.0f} s later the hub's local port to the broker is {ports}")
    check(rows == background.rows, f"... and the registration is the same row: {[tuple(r) for r in rows]}")
    gone = bench.java.producer_connections(bench.server.namesrv, LINGERING, TOPIC)
    check(not gone, f"... and the group that lingered has left: {[tuple(r) for r in gone]}")
    background.staying.process.terminate()   # it would go on
    status = background.staying.finish(60)
    check(status == 0, f"the producer that sent all the time ended with status {status}: {background.staying.summary()}")
