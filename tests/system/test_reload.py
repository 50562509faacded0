#!/usr/bin/env python3
"""SIGHUP under load: what applies at once, what needs a restart and is named, what changes nothing, and that no send notices."""

import json
import os
import re
import signal
import subprocess

from system_test import BIN, FAILED, OK, SystemTest, main, wait_until

ACCESS_KEY, SECRET_KEY = "reload-access", "reload-secret-5f1d"


class Reload(SystemTest):
    def setUp(self):
        super().setUp()
        self.broker = self.start_broker("--acl", f"{ACCESS_KEY}:{SECRET_KEY}")
        self.credentials = self.write_credentials(SECRET_KEY)
        self.conf = self.dir / "rmqhub.conf"
        self.write_conf(1000)
        self.hub = self.start_hub("-c", self.conf)

    def write_credentials(self, secret, mode=0o600):
        path = self.dir / "credentials"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(f"access_key = {ACCESS_KEY}\nsecret_key = {secret}\n", encoding="utf-8")
        path.chmod(mode)
        return path

    def write_conf(self, linger_ms, hub="", cluster=""):
        self.conf.write_text(f"[hub]\nlinger_ms = {linger_ms}\n{hub}[cluster c]\nnamesrv_addr = {self.broker.namesrv}\n"
                             f"credentials_file = {self.credentials}\n{cluster}", encoding="utf-8")

    def reload(self):
        """What the hub said of it."""
        before = self.log_size()
        self.hub.send_signal(signal.SIGHUP)
        def told():
            text = self.log_since(before)
            return re.search(r"reloaded, \d+ setting|reload refused", text) and text
        return wait_until(told, 10, "the hub to reload")

    def settings(self):
        result = self.rmqhub("config", "--json")
        self.assertEqual(result.returncode, OK, result.stderr)
        return {item["key"]: item["value"] for item in json.loads(result.stdout)["items"]}

    def wait_for_setting(self, key, value):
        wait_until(lambda: self.settings()[key] == value, 5, f"{key} = {value}")

    def send(self):
        result = self.rmqhub("send", "--group", "g", "--topic", "T", "--body", "x")
        self.assertEqual(result.returncode, OK, result.stdout + result.stderr)

    def start_load(self, count):
        load = subprocess.Popen([BIN / "rmqhub", "send", "--runtime-dir", self.runtime_dir, "--group", "load", "--topic", "Load", "--size", "100",
                                 "--count", count, "--rate", "1000", "--mode", "async", "--json"],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(lambda: (load.kill(), load.wait(), load.stdout.close()))
        wait_until(lambda: self.stored() > 100, 10, "the load to flow", 0.05)
        return load

    def stored(self):
        return sum(int(item["stored"]) for item in json.loads(self.rmqhub("groups", "--json").stdout)["items"] if "load" in item["group"])

    def test_a_reloadable_setting_applies_and_another_is_named_with_what_it_needs(self):
        self.write_conf(2000, "max_clients = 7\n", "connect_timeout_ms = 1234\n")
        text = self.reload()
        self.assertIn("[hub] linger_ms: '1000' to '2000'", text)
        self.assertIn("[hub] max_clients: '1024' to '7' needs a restart and was not applied", text)
        self.assertIn("[cluster c] connect_timeout_ms: '3000' to '1234' needs a restart and was not applied", text)
        self.assertIn("reloaded, 1 setting applied", text)
        self.wait_for_setting("hub.linger_ms", "2000")
        self.assertEqual(self.settings()["hub.max_clients"], "1024")

    def test_a_broken_file_changes_nothing_and_says_why(self):
        self.send()
        before = self.settings()
        self.write_conf(5, "nonsense = 1\n")
        text = self.reload()
        self.assertIn(f"{self.conf}:3: [hub] nonsense: is not a key of this section", text)
        self.assertIn("reload refused; the settings stay as they were", text)
        self.conf.unlink()
        self.assertIn(f"{self.conf}: cannot be read: No such file or directory", self.reload())
        self.assertEqual(self.settings(), before)
        self.send()

    def test_credentials_are_read_again_and_spoiled_ones_change_nothing(self):
        self.send()
        self.write_credentials(SECRET_KEY, 0o644)
        self.assertIn("has mode 0644", self.reload())
        self.send()  # with what was read before
        self.write_credentials("wrong")
        self.reload()
        result = self.rmqhub("send", "--group", "g", "--topic", "T", "--body", "x")
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("AclException", result.stdout + result.stderr)
        self.write_credentials(SECRET_KEY)
        self.reload()
        self.send()

    def test_no_send_notices_that_the_hub_reloads_all_the_time(self):
        load = self.start_load("4000")
        reloads = 0
        while load.poll() is None:
            broken = reloads % 2 == 1
            self.write_conf(1000 + reloads, "nonsense = 1\n" if broken else "")
            self.write_credentials(SECRET_KEY, 0o644 if reloads % 4 == 2 else 0o600)
            self.assertIn("reload refused" if broken else "reloaded, ", self.reload())
            reloads += 1
            if reloads == 4:
                files = self.open_files()
        summary = json.loads(load.communicate()[0])["summary"]
        self.assertEqual((load.returncode, summary["stored"]), (OK, 4000), summary)
        self.assertGreater(reloads, 10)
        self.assertLessEqual(self.open_files(), files)

    def open_files(self):
        return len(os.listdir(f"/proc/{self.hub.pid}/fd"))


if __name__ == "__main__":
    main()
