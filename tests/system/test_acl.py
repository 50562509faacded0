#!/usr/bin/env python3
"""Credentials: what signs with good ones is stored, bad ones are refused in the broker's words, files that others could read are
not used, and the secret stays in the file."""

import json
import os
import pathlib
import signal
import unittest

from system_test import FAILED, OK, OTHER_UID, SystemTest, main, wait_until

ACCESS_KEY, SECRET_KEY = "hub-access-key", "hub-secret-key-9c1f7e"


class Acl(SystemTest):
    def setUp(self):
        super().setUp()
        self.broker = self.start_broker("--acl", f"{ACCESS_KEY}:{SECRET_KEY}")
        self.credentials = self.dir / "credentials"

    def write_credentials(self, access_key=ACCESS_KEY, secret_key=SECRET_KEY, path=None):
        path = path or self.credentials
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(f"# of the tests\naccess_key = {access_key}\nsecret_key = {secret_key}\n", encoding="utf-8")
        return path

    def start_configured_hub(self, credentials=None, **options):
        key = f"credentials_file = {credentials}\n" if credentials else ""
        config = self.file("hub.conf", f"[cluster default]\nnamesrv_addr = {self.broker.namesrv}\n{key}")
        return self.start_hub("-c", config, **options)

    def send(self, *args):
        return self.rmqhub("send", "--group", "g", "--topic", "T", "--body", "hello", *args)

    def assert_stored(self):
        result = self.send()
        self.assertEqual(result.returncode, OK, result.stdout + result.stderr)

    def assert_refused_by_broker(self, words):
        result = self.send("--json")
        self.assertEqual(result.returncode, FAILED, result.stdout + result.stderr)
        item = json.loads(result.stdout)["items"][0]
        self.assertEqual(item["outcome"], "NOT_STORED", item)
        self.assertIn("AclException: " + words, item["reason"])


class Signing(Acl):
    def test_what_is_signed_with_good_credentials_is_stored(self):
        self.start_configured_hub(self.write_credentials())
        result = self.rmqhub("send", "--group", "g", "--topic", "T", "--size", "5000", "--count", "200", "--mode", "async")
        self.assertEqual(result.returncode, OK, result.stdout + result.stderr)
        self.assert_stored()
        self.assertEqual(len(self.broker.log().stored), 201)
        wait_until(lambda: any("producer_group=g" in e.details for e in self.broker.log().events if e.kind == "register"), 10,
                   "the group registered: heartbeats are signed, too")

    def test_bad_credentials_are_refused_in_the_broker_s_words(self):
        cases = {"Check signature failed": (ACCESS_KEY, "another-secret"), "No acl config for nobody": ("nobody", SECRET_KEY)}
        for words, credentials in cases.items():
            with self.subTest(words):
                hub = self.start_configured_hub(self.write_credentials(*credentials))
                self.assert_refused_by_broker(words)
                self.end_hub(hub)
        self.assertEqual(self.broker.log().stored, [])

    def test_without_credentials_the_broker_misses_them(self):
        self.start_configured_hub()
        self.assert_refused_by_broker("No accessKey is configured")

    def test_a_reload_takes_other_credentials(self):
        hub = self.start_configured_hub(self.write_credentials(secret_key="wrong"))
        self.assert_refused_by_broker("Check signature failed")
        self.write_credentials()
        since = self.log_size()
        hub.send_signal(signal.SIGHUP)
        self.wait_for_log("reloaded", since)
        self.assert_stored()

    def test_a_reload_of_a_bad_file_keeps_the_good_credentials(self):
        hub = self.start_configured_hub(self.write_credentials())
        self.assert_stored()
        self.credentials.chmod(0o644)
        since = self.log_size()
        hub.send_signal(signal.SIGHUP)
        self.wait_for_log("has mode 0644", since)
        self.assert_stored()


class Files(Acl):
    """The hub starts with a good file; then something else stands in its place before the first producer comes."""

    def setUp(self):
        super().setUp()
        self.start_configured_hub(self.write_credentials())
        self.elsewhere = self.write_credentials(path=self.dir / "elsewhere")

    def assert_refused(self, words):
        """By name, to whoever starts a producer. Never unsigned: nothing reaches the broker."""
        result = self.send()
        self.assertEqual(result.returncode, FAILED, result.stdout + result.stderr)
        self.assert_one_line(result.stderr, f"credentials file {self.credentials} {words}")
        self.assertNotIn(SECRET_KEY, result.stdout + result.stderr)

    def tearDown(self):
        self.assertEqual(self.broker.log().stored, [])
        self.write_credentials()
        self.assert_stored()  # as soon as the file is right
        self.assertNotIn(SECRET_KEY, self.log.read_text(encoding="utf-8"))
        super().tearDown()

    def test_mode(self):
        for mode in (0o644, 0o640, 0o660, 0o700, 0o604):
            with self.subTest(oct(mode)):
                self.credentials.chmod(mode)
                self.assert_refused(f"has mode {mode:04o}: it must be 0600")

    @unittest.skipUnless(os.geteuid() == 0, "needs root to give a file away")
    def test_owner(self):
        os.chown(self.credentials, OTHER_UID, OTHER_UID)
        self.assert_refused(f"belongs to uid {OTHER_UID}: it must belong to the hub's user (uid 0) or root")

    def test_check_config_says_it_before_a_start(self):
        self.credentials.chmod(0o644)
        result = self.rmqhubd("-c", self.dir / "hub.conf", "--check-config")
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertIn(f"credentials file {self.credentials} has mode 0644: it must be 0600", result.stdout + result.stderr)

    def test_a_symbolic_link(self):
        self.credentials.unlink()
        self.credentials.symlink_to(self.elsewhere)
        self.assert_refused("is a symbolic link: name the file itself")

    def test_what_is_no_file(self):
        self.credentials.unlink()
        self.assert_refused("cannot be opened: No such file or directory")
        os.mkfifo(self.credentials, 0o600)
        self.assert_refused("is not a regular file")

    def test_what_stands_in_it(self):
        for text, words in ((f"secret_key={SECRET_KEY}\n", "has no access_key"), ("access_key=a\n", "has no secret_key"),
                            (f"access_key=a\n{SECRET_KEY}\n", "line 2 is not of the form name = value"), ("x" * 9000, "is longer than 8192 bytes")):
            with self.subTest(words):
                self.credentials.write_text(text, encoding="utf-8")
                self.assert_refused(words)


class Secrets(Acl):
    def memory_of(self, pid):
        """Every range that can be read, dumped into a core or not."""
        with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
            for line in maps:
                bounds, perm = line.split()[:2]
                start, end = (int(x, 16) for x in bounds.split("-"))
                if perm[0] != "r" or end - start > 1 << 28 or "[v" in line:
                    continue
                memory.seek(start)
                try:
                    yield memory.read(end - start)
                except OSError:
                    pass

    def test_the_secret_is_nowhere_but_in_the_file(self):
        hub = self.start_configured_hub(self.write_credentials(), env={"RMQHUB_LOG_LEVEL": "debug"})
        self.assert_stored()
        secret = SECRET_KEY.encode()
        proc = pathlib.Path("/proc") / str(hub.pid)
        self.assertIn(ACCESS_KEY.encode(), b"".join(self.memory_of(hub.pid)), "the search finds what is there")
        for block in self.memory_of(hub.pid):
            self.assertNotIn(secret, block)
        for name in ("cmdline", "environ"):
            self.assertNotIn(secret, (proc / name).read_bytes())
        self.assertNotIn(secret, self.log.read_bytes())
        self.end_hub(hub)
        kept = [p for p in (*self.runtime_dir.rglob("*"), *self.state_dir.rglob("*")) if p.is_file()]
        self.assertTrue(kept)
        for path in kept:
            self.assertNotIn(secret, path.read_bytes(), path)

    def test_the_reading_verbs_do_not_know_it(self):
        self.start_configured_hub(self.write_credentials())
        self.assert_stored()
        for verb in ("status", "groups", "clients", "brokers", "connections", "config", "events", "problems"):
            result = self.rmqhub(verb, "--json")
            self.assertNotIn(SECRET_KEY, result.stdout + result.stderr, verb)


if __name__ == "__main__":
    main()
