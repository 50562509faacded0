#!/usr/bin/env python3
"""TLS: who is verified is spoken to; everybody else is refused with a reason of their own, and nothing is ever sent in plain text."""

import json
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import tempfile

from system_test import BIN, FAILED, OK, TIMEOUT, SystemTest, main, wait_until

# pylint: disable=wrong-import-order
from certificates import Authority
from tls_proxy import Listener, TlsProxy, server_context


class Tls(SystemTest):
    """Certificates are made once for all tests of a class."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="rmqhub-tls-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.ca = Authority(f"{cls.folder}/ca")
        cls.server = cls.ca.issue("server", ("IP:127.0.0.1", "DNS:localhost"))

    def start_proxy(self, context):
        self.broker = self.start_broker()
        proxy = TlsProxy(self.broker, context)
        self.addCleanup(proxy.__exit__)
        return proxy.__enter__()

    def write_conf(self, namesrv, *lines, ca=None):
        trust = [] if "tls_insecure = true" in lines else [f"tls_ca_file = {ca or self.ca.cert}"]
        return self.file("rmqhub.conf", "\n".join(("[cluster default]", f"namesrv_addr = {namesrv}", "use_tls = true", *trust, *lines, "")))

    def start_tls_hub(self, namesrv, *lines, **options):
        return self.start_hub("-c", self.write_conf(namesrv, *lines, **options))

    def send(self, *args):
        return self.rmqhub("send", "--group", "g", "--topic", "T", "--body", "hello", *args)

    def assert_stored(self):
        result = self.send()
        self.assertEqual(result.returncode, OK, result.stdout + result.stderr + self.log_since(0))

    def assert_refused(self, namesrv, words, *lines, timeout="800", **options):
        before = self.log_size()
        hub = self.start_tls_hub(namesrv, *lines, **options)
        result = self.send("--timeout", timeout)
        self.assertIn(result.returncode, (FAILED, TIMEOUT), result.stdout + result.stderr)
        wait_until(lambda: words in self.log_since(before), 5, f"'{words}' in {self.log_since(before)}")
        self.end_hub(hub)
        return self.log_since(before)

    def items(self, verb):
        result = self.rmqhub(verb, "--json")
        self.assertEqual(result.returncode, OK, result.stderr)
        return json.loads(result.stdout)["items"]


class Good(Tls):
    def assert_spoken(self, version):
        proxy = self.start_proxy(server_context(self.server, minimum_version=version, maximum_version=version))
        self.start_tls_hub(proxy.namesrv)
        self.assert_stored()
        result = self.rmqhub("send", "--group", "g", "--topic", "T", "--size", "200000", "--count", "20", "--mode", "async")
        self.assertEqual(result.returncode, OK, result.stdout + result.stderr)
        result = self.rmqhub("send", "--group", "g", "--topic", "T", "--size", "1000", "--count", "500", "--mode", "oneway")
        self.assertEqual(result.returncode, OK, result.stdout + result.stderr)
        wait_until(lambda: len(self.broker.log().stored) == 521, 10, "all messages")
        wait_until(lambda: len(self.items("connections")) == 2, 5, "rows of both connections")
        shown = {(c["tls"], c["tls_protocol"], c["tls_peer"]) for c in self.items("connections")}
        self.assertEqual(shown, {("verified", f"TLSv1.{3 if version == ssl.TLSVersion.TLSv1_3 else 2}", "server")})
        self.assertTrue(all(c["tls_cipher"] for c in self.items("connections")))
        instance, = self.items("instances")
        self.assertEqual((instance["tls"], bool(instance["tls_identity"])), ("verified", True))

    def test_a_verified_server_is_spoken_to_by_tls_1_3(self):
        self.assert_spoken(ssl.TLSVersion.TLSv1_3)

    def test_and_by_tls_1_2(self):
        self.assert_spoken(ssl.TLSVersion.TLSv1_2)

    def test_localhost_is_verified_by_its_name(self):
        proxy = self.start_proxy(server_context(self.ca.issue("by-name", ("DNS:localhost",))))
        before = self.log_size()
        self.start_tls_hub(proxy.namesrv.replace("127.0.0.1", "localhost"))
        self.send("--timeout", "500")  # the broker's address is an IP address, and refused
        self.wait_for_log("the server's certificate is for another IP address", before)
        self.assertIn(f"localhost:{proxy.ports['nameserver']}: connected", self.log_since(before))

    def test_a_server_name_that_is_set_counts_instead_of_the_address(self):
        proxy = self.start_proxy(server_context(self.ca.issue("brokers", ("DNS:brokers.example",))))
        self.start_tls_hub(proxy.namesrv, "tls_server_name = brokers.example")
        self.assert_stored()

    def test_a_client_certificate_with_a_key_under_a_password(self):
        client = self.ca.issue("the-hub", (), password="of-the-key")
        password = self.file("password", "of-the-key\n")
        password.chmod(0o600)
        proxy = self.start_proxy(server_context(self.server, self.ca.cert))
        self.start_tls_hub(proxy.namesrv, f"tls_cert_file = {client.cert}", f"tls_key_file = {client.key}", f"tls_key_password_file = {password}")
        self.assert_stored()
        self.assertEqual(set(proxy.clients), {"the-hub"})
        self.assertNotIn("of-the-key", self.log_since(0))

    def test_a_hub_with_a_key_dumps_no_core(self):
        client = self.ca.issue("secretive", ())
        proxy = self.start_proxy(server_context(self.server, self.ca.cert))
        hub = self.start_tls_hub(proxy.namesrv, f"tls_cert_file = {client.cert}", f"tls_key_file = {client.key}")
        self.assert_stored()
        limits = pathlib.Path(f"/proc/{hub.pid}/limits").read_text(encoding="ascii")
        soft = re.search(r"^Max core file size +(\S+)", limits, re.MULTILINE).group(1)
        self.assertEqual(soft, "1")  # with 0, the kernel would still pipe a core to a program

    def test_a_session_is_resumed_after_a_reconnect(self):
        proxy = self.start_proxy(server_context(self.server))
        self.start_tls_hub(proxy.namesrv)
        self.assert_stored()
        self.assertNotIn(", resumed", self.log_since(0))
        proxy.disconnect_all()
        self.assert_stored()
        self.wait_for_log(", resumed")

    def test_insecure_works_with_anybody_and_is_told_everywhere(self):
        stranger = Authority(f"{self.dir}/stranger").issue("stranger", ("DNS:nowhere.example",))
        proxy = self.start_proxy(server_context(stranger))
        self.start_tls_hub(proxy.namesrv, "tls_insecure = true")
        self.assert_stored()
        self.assertIn("INSECURE: the server is not verified", self.log_since(0))
        wait_until(lambda: [p for p in self.items("problems") if p["rule"] == "tls-insecure"], 5, "a problem row")
        self.assertIn("tls-insecure", self.rmqhub("status").stdout)
        for verb in ("status", "instances", "connections", "groups"):
            self.assertIn("TLS INSECURE: 1 of 1 instances", self.rmqhub(verb).stdout)
        self.assertEqual({c["tls"] for c in self.items("connections") + self.items("instances")}, {"INSECURE"})
        self.assertEqual(self.items("status")[0]["insecure_instances"], 1)


class Refused(Tls):
    def refused(self, words, issued=None, context=None, **options):
        proxy = self.start_proxy(context or server_context(issued))
        log = self.assert_refused(proxy.namesrv, words, **options)
        self.assertEqual([e for e in self.broker.log().events if e.kind in ("register", "heartbeat")], [])
        self.assertEqual(self.broker.log().stored, [])
        return log

    def test_an_authority_that_is_not_trusted(self):
        self.refused("of an authority that is not trusted", Authority(f"{self.dir}/other").issue("server"))

    def test_an_expired_certificate(self):
        self.refused("the server's certificate has expired", self.ca.issue("expired", first_day=-10, last_day=-1))

    def test_a_certificate_of_tomorrow(self):
        self.refused("the server's certificate is not valid yet", self.ca.issue("tomorrow", first_day=1, last_day=10))

    def test_another_address(self):
        self.refused("the server's certificate is for another IP address", self.ca.issue("elsewhere", ("IP:127.0.0.2",)))

    def test_another_host(self):
        proxy = self.start_proxy(server_context(self.ca.issue("elsewhere-by-name", ("DNS:elsewhere.example",))))
        self.assert_refused(proxy.namesrv.replace("127.0.0.1", "localhost"), "the server's certificate is for another host name")

    def test_a_key_that_is_too_small(self):
        self.refused("the server's key is too small", context=server_context(self.ca.issue("small", key=1024), weak=True))

    def test_an_old_protocol(self):
        context = server_context(self.server, weak=True, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
        with Listener(context=context) as listener:
            self.assert_refused(listener.address, "the server speaks no TLS 1.2 or 1.3")

    def test_a_server_that_wants_a_certificate_and_gets_none(self):
        with Listener(context=server_context(self.server, self.ca.cert)) as listener:
            self.assert_refused(listener.address, "the server asks for a certificate of ours (tls_cert_file)")

    def test_a_plain_server_gets_no_plain_byte(self):
        broker = self.start_broker()
        self.assert_refused(broker.namesrv, "TLS handshake")
        with Listener(b"\0\0\0\1 this is no TLS\n") as listener:
            self.assert_refused(listener.address, "the answer is not TLS: a server without TLS?")
            self.assertTrue(all(kept[:1] == b"\x16" for kept in listener.received if kept))

    def test_a_stalled_handshake(self):
        with Listener() as listener:
            self.assert_refused(listener.address, "the TLS handshake was not finished in time", "connect_timeout_ms = 300")
            self.assertTrue(listener.received and all(kept[:1] == b"\x16" for kept in listener.received))

    def test_without_a_context_nobody_is_dialled(self):
        with Listener() as listener:
            log = self.assert_refused(listener.address, "no TLS context could be built; nothing is sent in plain text", ca="/nonexistent/ca.pem")
            self.assertIn("tls_ca_file /nonexistent/ca.pem cannot be read: No such file or directory", log)
            self.assertEqual(listener.received, [])


class Files(Tls):
    """--check-config looks at the files as an instance would."""

    def check(self, *lines, ca=None):
        return self.rmqhubd("-c", self.write_conf("127.0.0.1:1", *lines, ca=ca), "--check-config")

    def test_files_that_cannot_be_used_are_told_before_the_start(self):
        client, other = self.ca.issue("client", (), password="right"), self.ca.issue("other-client", ())
        right, wrong, shared = self.file("right", "right"), self.file("wrong", "wrong"), self.dir / "shared.key"
        right.chmod(0o600)
        wrong.chmod(0o600)
        shutil.copy(other.key, shared)
        shared.chmod(0o640)
        link = self.dir / "link.key"
        link.symlink_to(other.key)
        rows = ((self.file("empty.pem", ""), (), "holds no certificates"),
                (None, (f"tls_cert_file = {client.cert}", f"tls_key_file = {other.key}"), "does not belong to tls_cert_file"),
                (None, (f"tls_cert_file = {client.cert}", f"tls_key_file = {client.key}"), "without a password file"),
                (None, (f"tls_cert_file = {client.cert}", f"tls_key_file = {client.key}", f"tls_key_password_file = {wrong}"), "cannot be used"),
                (None, (f"tls_cert_file = {other.cert}", f"tls_key_file = {shared}"), "has mode 0640: it must be 0600"),
                (None, (f"tls_cert_file = {other.cert}", f"tls_key_file = {link}"), "is a symbolic link"),
                (None, (f"tls_cert_file = {self.dir}/none", f"tls_key_file = {other.key}"), "No such file or directory"))
        for ca, lines, words in rows:
            result = self.check(*lines, ca=ca)
            self.assertEqual(result.returncode, FAILED, result.stdout)
            self.assertIn(words, result.stdout)
        result = self.check(f"tls_cert_file = {client.cert}", f"tls_key_file = {client.key}", f"tls_key_password_file = {right}")
        self.assertEqual(result.returncode, OK, result.stdout)


class Reload(Tls):
    def test_certificates_change_under_load_and_no_send_is_lost(self):
        hub_files = {"cert": self.dir / "hub.pem", "key": self.dir / "hub.key"}

        def install(name):
            issued = self.ca.issue(name, ())
            shutil.copy(issued.cert, hub_files["cert"])
            shutil.copy(issued.key, hub_files["key"])
        install("hub-before")
        proxy = self.start_proxy(server_context(self.server, self.ca.cert))
        hub = self.start_tls_hub(proxy.namesrv, f"tls_cert_file = {hub_files['cert']}", f"tls_key_file = {hub_files['key']}")
        self.assert_stored()
        load = subprocess.Popen([BIN / "rmqhub", "send", "--runtime-dir", self.runtime_dir, "--group", "load", "--topic", "T", "--size", "100",
                                 "--count", "2000", "--rate", "500", "--mode", "async", "--json"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (load.kill(), load.wait(), load.stdout.close()))

        def reload(words):
            before = self.log_size()
            hub.send_signal(signal.SIGHUP)
            self.wait_for_log("reloaded, 0 settings applied", before, hub)
            self.assertIn(words, self.log_since(before))
        install("hub-after")
        reload("")
        hub_files["key"].write_text("nonsense")
        reload("the certificates read before stay in use")
        install("hub-at-last")
        reload("")
        summary = json.loads(load.communicate(timeout=30)[0])["summary"]
        self.assertEqual((load.returncode, summary["stored"]), (OK, 2000), summary)
        self.assertEqual(set(proxy.clients), {"hub-before"})  # connections stayed
        proxy.disconnect_all()
        self.assert_stored()
        self.assertIn("hub-at-last", proxy.clients)
        self.assertNotIn("hub-after", proxy.clients)


if __name__ == "__main__":
    main()
