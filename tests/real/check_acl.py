"""A real broker with aclEnable=true: it takes what is signed with good credentials, and what it says about bad ones reaches
the application. The Java client with the same credentials says what is to be expected."""

import json
import signal

import ledger
from hub_process import Hub, LedgerProducer
from processes import check, wait_until
from servers import RealServers

TITLE = "ACL: good credentials send, bad ones are refused with the broker's text"
ONLY = "4.9.3"   # 5.3.3 has another kind of ACL
COUNT = 200
GROUP = "acl-group"
TOPIC, FORBIDDEN_TOPIC = "AclAllowed", "AclForbidden"
ACCESS_KEY, SECRET_KEY = "hub-access-key", "hub-secret-key"
PLAIN_ACL = f"""\
accounts:
- accessKey: {ACCESS_KEY}
  secretKey: {SECRET_KEY}
  admin: false
  defaultTopicPerm: DENY
  defaultGroupPerm: PUB|SUB
  topicPerms:
  - {TOPIC}=PUB|SUB
"""
# name: (credentials or None, topic, words of the broker)
REFUSED = {
    "a secret that is wrong": ((ACCESS_KEY, "wrong-secret-key"), TOPIC, "Check signature failed"),
    "an access key that nobody knows": (("other-access-key", SECRET_KEY), TOPIC, "No acl config for other-access-key"),
    "no credentials": (None, TOPIC, "No accessKey is configured"),
    "a topic without the right": ((ACCESS_KEY, SECRET_KEY), FORBIDDEN_TOPIC, "No default permission for"),
}


def run(bench):
    files = {"conf/plain_acl.yml": PLAIN_ACL}
    with RealServers(bench.server.version, bench.server.jars, heap="256m", settings=["aclEnable=true"], files=files) as server:
        java = bench.java.with_properties(bench.work_dir, {"rmqhub.accessKey": ACCESS_KEY, "rmqhub.secretKey": SECRET_KEY})
        (java.home / "conf" / "tools.yml").write_text(f"accessKey: {ACCESS_KEY}\nsecretKey: {SECRET_KEY}\n")   # for mqadmin
        _good(bench, server, java)
        for number, (name, case) in enumerate(REFUSED.items()):
            _refused(bench, server, number, name, *case)
        _mended(bench, server)
        stored = java.read_back(server.namesrv, TOPIC)
        check(len(stored) == COUNT + 1, f"nothing of what was refused is in the broker: {len(stored)} messages, {COUNT + 1} were sent with good credentials")


def _write_credentials(bench, name, access_key, secret_key):
    path = bench.work_dir / f"{name}.credentials"
    path.touch(mode=0o600)
    path.write_text(f"access_key = {access_key}\nsecret_key = {secret_key}\n")
    return path


def _hub(bench, server, name, credentials):
    cluster = {"namesrv_addr": server.namesrv}
    if credentials:
        cluster["credentials_file"] = _write_credentials(bench, name, *credentials)
    return Hub.configured(bench.bin_dir, bench.work_dir, cluster, name=name)


def _good(bench, server, java):
    with _hub(bench, server, "good", (ACCESS_KEY, SECRET_KEY)) as hub:
        producers = [LedgerProducer(hub, bench.work_dir, f"good-{mode}", GROUP, TOPIC, count=COUNT // 2, mode=mode, properties=True).start()
                     for mode in ("sync", "async")]
        statuses = [p.finish(60) for p in producers]
        entries = [e for p in producers for e in p.entries()]
        check(statuses == [0, 0], f"good credentials: exit statuses {statuses}; not stored: {ledger.reasons(entries)}")
        rows = java.producer_connections(server.namesrv, GROUP, TOPIC)
        check(len(rows) == 1, f"heartbeats are signed, too: the group is registered {[tuple(r) for r in rows]}")
    ledger.check_promises(entries, java.read_back(server.namesrv, TOPIC))


def _refused(bench, server, number, name, credentials, topic, words):
    with _hub(bench, server, f"refused-{number}", credentials) as hub:
        result = hub.cli("send", "--group", GROUP, "--topic", topic, "--body", "refused", "--json")
        items = json.loads(result.stdout)["items"] if result.stdout else []
        check(result.returncode == 1 and len(items) == 1 and items[0]["outcome"] == "NOT_STORED" and words in items[0]["reason"],
              f"{name}: status {result.returncode}, {[(i['outcome'], i['code'], i['reason']) for i in items]}, expected {words!r}")
    _check_no_secret(hub, name)


def _mended(bench, server):
    """A file that was wrong is put right, and SIGHUP is all it takes."""
    name = "mended"
    with _hub(bench, server, name, REFUSED["a secret that is wrong"][0]) as hub:
        def send():
            return hub.cli("send", "--group", GROUP, "--topic", TOPIC, "--body", "mended")
        before = send()
        _write_credentials(bench, name, ACCESS_KEY, SECRET_KEY)
        hub.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reload" in hub.log.read_text(errors="replace").lower(), 5, "the hub to say that it has read its configuration again")
        after = send()
        check((before.returncode, after.returncode) == (1, 0), f"a wrong secret put right, SIGHUP: status {before.returncode} before, {after.returncode} after {after.stdout.strip()}")
    _check_no_secret(hub, name)


def _check_no_secret(hub, name):
    log = hub.log.read_text(errors="replace")
    check(SECRET_KEY not in log and "wrong-secret-key" not in log, f"{name}: no secret in the hub's log of {len(log)} bytes")
