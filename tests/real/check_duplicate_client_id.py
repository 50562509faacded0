"""Two hubs that were given the same address and instance name have one clientId before the broker. 4.9.3 does not notice; a hub
finds the other one by the private group that both announce, and names it in the list of problems."""

from hub_process import Hub
from processes import check, spawn, stop, wait_until

TITLE = "two hubs with one clientId: both say so"
GROUP = "duplicate"
TOPIC = "DuplicateClientId"
INSTANCE, ADDRESS = "one-name", "192.0.2.77"
CLIENT_ID = f"{ADDRESS}@{INSTANCE}"
SECONDS = 60    # much longer than it takes
RULE = "duplicate-client-id"


def run(bench):
    def hub(name):
        return Hub.configured(bench.bin_dir, bench.work_dir, {"namesrv_addr": bench.server.namesrv, "client_ip": ADDRESS}, name=name)

    with hub("hub-1") as one:
        senders = [_send(bench, one)]
        try:
            wait_until(lambda: one.broker_connections(bench.server.broker_ports), 20, "the first hub to connect")
            check(_problems(one) == [], "one hub: no problem")
            with hub("hub-2") as other:
                senders.append(_send(bench, other))
                for name, which in (("first", one), ("second", other)):
                    rows = wait_until(lambda h=which: _problems(h), SECONDS, f"the problem {RULE} at the {name} hub", 0.5)
                    check(rows[0]["object"] == CLIENT_ID, f"the {name} hub says: {rows[0]['severity']} {rows[0]['object']}: {rows[0]['text']}")
                stop(senders.pop())
        finally:
            for sender in senders:
                stop(sender)


def _send(bench, hub):
    return spawn([bench.bin_dir / "rmqhub", "send", "--group", GROUP, "--topic", TOPIC, "--instance", INSTANCE, "--body", "x", "--count", SECONDS * 2,
                  "--rate", 2, "--runtime-dir", hub.runtime_dir], hub.log.with_suffix(".send"))


def _problems(hub):
    return [row for row in hub.read("problems")["items"] if row["rule"] == RULE]
