"""Real servers with certificates of our own, TLS enforced on every port and client certificates required: the hub sends and
the Java client, with the same certificates, reads back; whoever is not what it should be is refused with its own words."""

import json
import re
import ssl

import ledger
from certificates import Authority
from hub_process import Hub, LedgerProducer
from processes import check
from servers import RealServers

TITLE = "TLS with own certificates: good ones send, bad ones are refused with their own words"
REAL_SERVERS_ONLY = True
COUNT = 200
GROUP = "tls-group"
TOPIC = "Tls"
PASSWORD = "key-password"
TRIES, TIMED_OUT = 3, 7   # on a machine so busy that the hub could not even say no by the deadline, it is asked again


def server_properties(folder, authority, server, client):
    """System properties by which 4.9.3 and 5.3.3 take and show certificates: nameserver, broker, and clients on the JVM."""
    return {
        "tls.config.file": folder / "no-such-file", "tls.test.mode.enable": "false",
        "tls.server.mode": "enforcing", "tls.server.certPath": server.cert, "tls.server.keyPath": server.key,
        "tls.server.need.client.auth": "require", "tls.server.authClient": "true", "tls.server.trustCertPath": authority.cert,
        "tls.enable": "true", "tls.client.authServer": "true", "tls.client.trustCertPath": authority.cert,
        "tls.client.certPath": client.cert, "tls.client.keyPath": client.key}


def harness_context(authority, client):
    context = ssl.create_default_context(cafile=str(authority.cert))
    context.load_cert_chain(client.cert, client.key)
    return context


class Certificates:
    """The files of one run."""

    def __init__(self, folder):
        self.folder = folder
        self.authority, self.stranger = Authority(folder / "ca"), Authority(folder / "stranger", "Another CA")
        self.server = self.authority.issue("server")
        self.expired = self.authority.issue("expired", first_day=-20, last_day=-2)
        self.elsewhere = self.authority.issue("elsewhere", addresses=("IP:192.0.2.1", "DNS:broker.example"))
        self.client = self.authority.issue("client", addresses=())
        self.locked = self.authority.issue("locked", addresses=(), password=PASSWORD)
        self.strange_client = self.stranger.issue("strange-client", addresses=())
        self.password = folder / "password"
        self.password.touch(mode=0o600)
        self.password.write_text(PASSWORD + "\n")

    def settings(self, **changed):
        """Keys of the hub's configuration; None leaves one out."""
        keys = {"use_tls": "true", "tls_ca_file": self.authority.cert, "tls_cert_file": self.client.cert, "tls_key_file": self.client.key, **changed}
        return {key: value for key, value in keys.items() if value is not None}

    def servers(self, bench, server, **counts):
        return RealServers(bench.server.version, bench.server.jars, heap="256m", tls=harness_context(self.authority, self.client),
                           properties=server_properties(self.folder, self.authority, server, self.client), **counts)


def run(bench):
    files = Certificates(bench.work_dir)
    with files.servers(bench, files.server) as server:
        java = bench.java.with_properties(bench.work_dir, server.properties)
        _good(bench, server, java, files)
        _refused(bench, server.namesrv, "a server of an authority that is not ours", files.settings(tls_ca_file=files.stranger.cert), "authority that is not trusted")
        _refused(bench, server.namesrv, "no client certificate", files.settings(tls_cert_file=None, tls_key_file=None), "asks for a certificate of ours")
        _refused(bench, server.namesrv, "a client certificate of a stranger",
                 files.settings(tls_cert_file=files.strange_client.cert, tls_key_file=files.strange_client.key), "does not accept our certificate")
        _refused(bench, server.namesrv, "plaintext", {}, "closed by the peer|reset")
        check(len(java.read_back(server.namesrv, TOPIC)) == COUNT + 1, "nothing of what was refused is in the broker")
    for name, certificate, words in (("an expired server certificate", files.expired, "has expired"), ("a server certificate for another address", files.elsewhere, "another IP address")):
        with files.servers(bench, certificate, brokers=0) as server:
            _refused(bench, server.namesrv, name, files.settings(), words)


def _hub(bench, name, namesrv, settings):
    return Hub.configured(bench.bin_dir, bench.work_dir, {"namesrv_addr": namesrv, **settings}, name=name.replace(" ", "-"))


def _good(bench, server, java, files):
    with _hub(bench, "good", server.namesrv, files.settings()) as hub:
        producers = [LedgerProducer(hub, bench.work_dir, f"good-{mode}", GROUP, TOPIC, count=COUNT // 2, mode=mode, properties=True, timeout=5000).start()
                     for mode in ("sync", "async")]
        statuses = [p.finish(60) for p in producers]
        entries = [e for p in producers for e in p.entries()]
        check(statuses == [0, 0], f"good certificates: exit statuses {statuses}; not stored: {ledger.reasons(entries)}")
        rows = [(r["role"], r["tls"], r["tls_protocol"], r["tls_cipher"]) for r in hub.read("connections")["items"]]
        check(sorted(r[:2] for r in rows) == [("broker", "verified"), ("nameserver", "verified")], f"rmqhub connections: {rows}")
    ledger.check_promises(entries, java.read_back(server.namesrv, TOPIC))
    with _hub(bench, "locked key", server.namesrv, files.settings(tls_cert_file=files.locked.cert, tls_key_file=files.locked.key,
                                                                  tls_key_password_file=files.password)) as hub:
        result = hub.cli("send", "--group", GROUP, "--topic", TOPIC, "--body", "with a locked key")
        check(result.returncode == 0, f"a client key with a password: status {result.returncode} {result.stdout.strip()} {result.stderr.strip()}")


def _refused(bench, namesrv, name, settings, words):
    """One try with settings that must not do: NOT_STORED, and the connection to the nameserver says why in words of its own."""
    with _hub(bench, name, namesrv, settings) as hub:
        for _ in range(TRIES):
            result = hub.cli("send", "--group", GROUP, "--topic", TOPIC, "--body", "refused", "--timeout", "2000", "--json")
            if result.returncode != TIMED_OUT:
                break
        items = json.loads(result.stdout)["items"] if result.stdout else []
        errors = [r["last_error"] for r in hub.read("connections")["items"] if r["role"] == "nameserver"]
    check(result.returncode == 1 and [i["outcome"] for i in items] == ["NOT_STORED"], f"{name}: status {result.returncode}, {[(i['outcome'], i['reason']) for i in items]}")
    check(len(errors) == 1 and re.search(words, errors[0]), f"{name}: the connection says {errors}")
