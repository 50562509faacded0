"""Who is registered at the broker: a group stays while anybody of the host uses it and for the linger time after, and
leaves at once when the last one says so; whatever leaves, the connection and the other groups stay, and so does the way
back to the client, which every unregister takes away at the broker until the hub repairs it."""

from hub_process import Hub, LedgerProducer, finish_all
from processes import check, wait_until
from reply_probe import probe
from servers import RealServers

TITLE = "a group stays registered while it is used or lingers, and leaves alone"
TOPIC = "Registration"
LINGERING, LEAVING, SHARED = "group-lingers", "group-leaves", "group-shared"


def run(bench):
    server = bench.server
    with Hub(bench.bin_dir, bench.work_dir, server.namesrv) as hub:
        def producer(name, group, **options):
            return LedgerProducer(hub, bench.work_dir, name, group, TOPIC, **{"count": 5, **options}).start()

        staying = producer("staying", SHARED, count=6000, rate=100)
        statuses = finish_all([producer("lingers", LINGERING), producer("leaves", LEAVING, final=True), producer("one-leaves", SHARED, final=True)], 60)
        # Registered once more after it had left: a second life of the group on the same connection.
        statuses |= finish_all([producer("again", LEAVING)], 60)
        rows = _rows(bench, LEAVING)
        check(len(rows) == 1, f"a group that came again is registered: {[tuple(r) for r in rows]}")
        statuses |= finish_all([producer("leaves-again", LEAVING, final=True)], 60)
        check(set(statuses.values()) == {0}, f"exit status 0 of {list(statuses.values()).count(0)} of {len(statuses)} producers")

        local_ports = hub.broker_connections(server.broker_ports)
        lingering, left, shared = _rows(bench, LINGERING), _rows(bench, LEAVING), _rows(bench, SHARED)
        check(len(lingering) == 1, f"after a plain shutdown the group lingers: {[tuple(r) for r in lingering]}")
        check(not left, f"after the final shutdown of its last producer the group is gone: {[tuple(r) for r in left]}")
        check(len(shared) == 1, f"after the final shutdown of one of two producers the group stays: {[tuple(r) for r in shared]}")
        check(len(local_ports) == 1 and {int(r.address.rsplit(":", 1)[1]) for r in lingering + shared} == set(local_ports),
              f"all on the hub's one connection: local ports {local_ports}")
        check(len({r.client_id for r in lingering + shared}) == 1, f"under one clientId: {sorted({r.client_id for r in lingering + shared})}")
        if isinstance(server, RealServers):   # devbroker has no request-reply
            _check_way_back(hub, shared[0].client_id)
        check(staying.process.poll() is None, "the producer that stayed is still sending")


def _check_way_back(hub, client_id):
    """Groups have left: the broker must still, or again, find the client for request-reply."""
    broker = next(row["address"] for row in hub.read("brokers")["items"])
    answer = wait_until(lambda: (a := probe(broker, client_id)).code == 0 and a, 10, f"the broker to reach {client_id} again", 0.2)
    unknown = probe(broker, "192.0.2.99@nobody")
    check(answer.code == 0 and not unknown.reached, f"a reply to {client_id} reaches it: {tuple(answer)}; one to nobody does not: {tuple(unknown)}")


def _rows(bench, group):
    return bench.java.producer_connections(bench.server.namesrv, group, TOPIC)
