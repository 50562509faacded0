"""The command line, as a person tries it first: one message with everything on it, its fate told the same by the hub,
the broker and the instance table; and the words for what cannot work."""

import json
import zlib

from hub_process import Hub
from processes import check, wait_until

TITLE = "rmqhub send: one message through, and the instance table that shows it"
GROUP = "first-message"
TOPIC = "FirstMessage"
BODY = "the first message: grüß Gott"


def run(bench):
    with Hub(bench.bin_dir, bench.work_dir, bench.server.namesrv) as hub:
        result = hub.cli("send", "--group", GROUP, "--topic", TOPIC, "--body", BODY, "--tag", "greeting", "--key", "k1",
                         "--property", "colour=blue", "--property", "size=12", "--json")
        check(result.returncode == 0, f"rmqhub send ended with status {result.returncode} {result.stderr.strip()}")
        items = json.loads(result.stdout)["items"]
        check(len(items) == 1 and items[0]["outcome"] == "STORED" and items[0]["send_status"] == "SEND_OK", f"its result: {items}")
        _check_table(hub, bench.server, bench.java)
    _check_read_back(bench, items[0])
    _check_without_hub(bench)


def _check_read_back(bench, item):
    stored = bench.java.read_back(bench.server.namesrv, TOPIC)
    check(len(stored) == 1, f"read back {len(stored)} message")
    message = stored[0]
    body = BODY.encode()
    check((message.uniq_key, message.queue, message.offset) == (item["uniq_key"], item["queue_id"], int(item["queue_offset"])),
          f"UNIQ_KEY, queue and offset as told: {message.uniq_key} {message.queue} {message.offset}")
    check((message.crc, message.length) == (zlib.crc32(body), len(body)), f"equal body: {message.length} bytes, CRC-32 {message.crc:08x}")
    check((message.tags, message.keys, message.properties) == ("greeting", "k1", {"colour": "blue", "size": "12"}),
          f"tags {message.tags}, keys {message.keys}, properties {message.properties}")


def _check_table(hub, server, java):
    """The reading verbs, of the living hub and of the dead one."""
    def groups():
        rows = [(g["group"], g["stored"]) for g in hub.read("groups")["items"]]
        return rows if rows == [(GROUP, 1)] else None
    check(wait_until(groups, 3, f"{GROUP} with one stored message in rmqhub groups"), "rmqhub groups: the group, 1 message stored")
    rows = [c for c in hub.read("connections")["items"] if c["role"] == "broker"]
    kernel = hub.broker_connections(server.broker_ports)
    check([int(r["local_address"].rsplit(":", 1)[1]) for r in rows] == kernel and len(kernel) == 1,
          f"rmqhub connections shows what the kernel shows: {[(r['local_address'], r['peer_address'], r['state']) for r in rows]}, kernel {kernel}")
    seen = java.producer_connections(server.namesrv, GROUP, TOPIC)
    check([c.client_id for c in seen] == [r["client_id"] for r in rows], f"... and the broker knows the clientId that the table shows: {[c.client_id for c in seen]}")
    hub.kill()
    status = hub.read("status")
    check(status["stale"] is True and status["hub"]["state"] == "dead", f"of a dead hub: stale {status['stale']}, state {status['hub']['state']}")


def _check_without_hub(bench):
    result = Hub.cli_at(bench.bin_dir, bench.work_dir, "send", "--group", GROUP, "--topic", TOPIC, "--body", BODY, "--timeout", "300")
    check(result.returncode == 3 and len(result.stderr.strip().splitlines()) == 1, f"without a hub: status {result.returncode}, \"{result.stderr.strip()}\"")
