#!/usr/bin/env python3
"""What operators see with the reading verbs, while the hub works, hangs, is dead, and comes back."""

import json
import os
import signal
import subprocess
import time

from system_test import BIN, FAILED, NOT_FOUND, OK, PERMISSION, SystemTest, main, wait_until

STALE = 9


class Table(SystemTest):
    def setUp(self):
        super().setUp()
        self.broker = self.start_broker()
        self.hub = self.start_hub("--namesrv", self.broker.namesrv)

    def read(self, verb, *args):
        """The envelope of a verb, as JSON."""
        result = self.rmqhub(verb, "--json", *args)
        self.assertEqual(result.returncode, OK, result.stderr)
        return json.loads(result.stdout)

    def items(self, verb, *args):
        return self.read(verb, *args)["items"]

    def wait_for_items(self, verb, condition):
        wait_until(lambda: condition(self.items(verb)), 10, f"{verb}: {self.items(verb)}", 0.02)
        return self.items(verb)

    def start_sender(self, *args, group="g"):
        """Attaches, registers, and waits for lines."""
        sender = subprocess.Popen([BIN / "rmqhub", "send", "--runtime-dir", self.runtime_dir, "--group", group, "--topic", "T", "--lines", *args],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
        self.addCleanup(self.end_sender, sender)
        return sender

    @staticmethod
    def end_sender(sender):
        if sender.poll() is None:
            sender.kill()
        sender.communicate()

    def test_everything_about_one_sender(self):
        sender = self.start_sender()
        sender.stdin.write("one\ntwo\n")
        self.assertIn("STORED", sender.stdout.readline())
        self.assertIn("STORED", sender.stdout.readline())
        client, = self.wait_for_items("clients", lambda items: items and items[0]["stored"] >= 2)
        self.assertEqual((client["pid"], client["uid"], client["state"], client["group"], client["command"]),
                         (sender.pid, os.geteuid(), "attached", "g", "rmqhub"))
        group, = self.items("groups")
        self.assertEqual((group["group"], group["state"], group["clients"], group["stored"]), ("g", "active", 1, 2))
        instance, = self.items("instances")
        self.assertEqual((instance["client_id"], instance["state"], instance["clients"]), (group["client_id"], "RUNNING", 1))
        self.assertEqual((instance["factory_index"], instance["handles"], instance["tls"], instance["credentials"], instance["extra_connections"]),
                         (0, 1, "off", "", 0))
        self.assertEqual((instance["namesrv_chosen"], instance["namesrv_list"], instance["discovery_url"]),
                         (self.broker.namesrv, self.broker.namesrv, ""))
        self.assertTrue(instance["marker_group"].startswith("RMQHUB_"))
        route, = self.items("routes", "T")
        self.assertEqual((route["state"], route["write_queues"] > 0, route["references"], route["confirmed"]), ("ok", True, 1, True))
        broker, = self.items("brokers")
        self.assertEqual((broker["state"], broker["sends"], broker["stored"]), ("connected", 2, 2))
        connections = {connection["role"]: connection for connection in self.items("connections")}
        self.assertEqual(connections["broker"]["peer_address"], broker["address"])
        self.assertRegex(connections["broker"]["local_address"], r"^127\.0\.0\.1:\d+$")
        self.assertEqual(connections["nameserver"]["peer_address"], self.broker.namesrv)
        heartbeat, = self.items("heartbeats")
        self.assertEqual((heartbeat["address"], heartbeat["failed"]), (broker["address"], 0))
        self.assertIn("o", heartbeat["history"])
        self.assertTrue(self.items("tasks"))
        counters = {counter["name"]: counter["value"] for counter in self.items("stats")}
        self.assertEqual(counters["clients_attached"], 1)
        self.assertTrue(any("attached" in event["text"] for event in self.items("events")))
        keys = {row["key"]: row for row in self.items("config")}
        self.assertEqual(keys["cluster default.namesrv_addr"]["value"], self.broker.namesrv)
        self.assertEqual(keys["cluster default.namesrv_addr"]["source"], "command_line")
        self.assertEqual(self.rmqhub("routes", "no-such-topic").returncode, NOT_FOUND)

    def test_two_processes_of_one_configuration_share(self):
        first, second = self.start_sender(), self.start_sender()
        for sender in (first, second):
            sender.stdin.write("x\n")
            self.assertIn("STORED", sender.stdout.readline())
        instance, = self.wait_for_items("instances", lambda items: items and items[0]["clients"] == 2)
        group, = self.items("groups")
        self.assertEqual((group["clients"], group["handles"], instance["handles"]), (2, 2, 2))

    def test_what_other_credentials_cost_is_shown(self):
        for name in ("one", "two"):
            self.file(name, "access_key = key\nsecret_key = secret\n").chmod(0o600)
        config = self.file("hub.conf", "".join(
            f"[cluster {name}]\nnamesrv_addr = {self.broker.namesrv}\ncredentials_file = {self.dir / name}\n" for name in ("one", "two")))
        self.end_hub(self.hub)
        self.hub = self.start_hub("--config", config)
        for name in ("one", "two"):
            sender = self.start_sender("--cluster", name)
            sender.stdin.write("x\n")
            self.assertIn("STORED", sender.stdout.readline())
        first, second = self.wait_for_items("instances", lambda items: len(items) == 2 and items[1]["extra_connections"] > 0)
        self.assertNotEqual(first["client_id"], second["client_id"])
        self.assertNotEqual(first["credentials"], second["credentials"])
        self.assertEqual((first["extra_connections"], second["extra_connections"]), (0, second["connections"]))
        status, = self.items("status")
        self.assertEqual(status["extra_connections"], second["extra_connections"])
        self.assertNotIn("secret", self.rmqhub("instances", "--json").stdout)

    def test_a_problem_is_shown_until_it_is_over(self):
        credentials = self.file("credentials", "access_key = key\nsecret_key = secret\n")
        credentials.chmod(0o644)
        config = self.file("hub.conf", f"[cluster default]\nnamesrv_addr = {self.broker.namesrv}\ncredentials_file = {credentials}\n")
        self.end_hub(self.hub)
        self.hub = self.start_hub("--config", config)
        refused = self.rmqhub("send", "--group", "g", "--topic", "T", "--body", "x")
        self.assertIn("0600", refused.stderr)
        problem, *_ = self.wait_for_items("problems", lambda items: items)
        self.assertIn("0600", problem["text"])
        self.assertIn(problem["object"], self.rmqhub("status").stdout)
        self.assertEqual(self.read("status")["problems"][0]["rule"], problem["rule"])
        self.assertTrue(any(problem["rule"] in event["text"] for event in self.items("events")))
        credentials.chmod(0o600)
        self.assertEqual(self.rmqhub("send", "--group", "g", "--topic", "T", "--body", "x").returncode, OK)
        self.wait_for_items("problems", lambda items: not items)

    def test_a_setting_without_meaning_here_says_so(self):
        setting, = self.items("config", "cluster default.client_worker_threads")
        self.assertEqual(setting["value"], "4")
        self.assertTrue(setting["note"])
        linger, = self.items("config", "hub.linger_ms")
        self.assertEqual(linger["note"], "")

    def test_a_change_is_seen_soon(self):
        began = time.monotonic()
        sender = self.start_sender()
        self.wait_for_items("clients", lambda items: len(items) == 1)
        sender.kill()
        self.wait_for_items("clients", lambda items: not items)
        group, = self.wait_for_items("groups", lambda items: items and items[0]["state"] == "lingering")
        self.assertGreater(group["linger_left_ms"], 50000)
        self.assertLess(time.monotonic() - began, 5)

    def test_a_request_without_an_answer_is_pending(self):
        self.broker.command("fault 310 store-no-reply times=1")
        sender = self.start_sender("--timeout", "5000")
        sender.stdin.write("x\n")
        pending, = self.wait_for_items("pending", lambda items: len(items) == 1 and items[0]["topic"] == "T" and items[0]["state"] == "on_wire")
        self.assertEqual((pending["code"], pending["request"], pending["group"], pending["mode"], pending["pid"]),
                         (310, "SEND_MESSAGE_V2", "g", "sync", sender.pid))
        self.assertGreater(pending["deadline_in_ms"], 0)
        self.wait_for_items("clients", lambda items: items[0]["in_flight"] == 1)

    def test_a_broken_connection_is_named(self):
        dead = self.closed_port()
        sender = self.start_sender("--namesrv", dead, "--timeout", "4000")
        sender.stdin.write("x\n")

        def refused(items):
            return any(c["peer_address"] == dead and c["connect_failures"] > 0 and "refused" in c["last_error"] for c in items)
        self.wait_for_items("connections", refused)

    def test_a_dead_hub_s_table_is_readable_and_says_so(self):
        sender = self.start_sender()
        self.wait_for_items("clients", lambda items: len(items) == 1)
        first = self.read("status")
        self.hub.kill()
        self.hub.wait()
        envelope = self.read("clients")
        self.assertEqual((envelope["hub"]["state"], envelope["stale"]), ("dead", True))
        self.assertEqual(envelope["items"][0]["pid"], sender.pid)
        text = self.rmqhub("clients")
        self.assertEqual(text.returncode, OK)
        self.assertTrue(text.stdout.startswith(f"HUB DOWN pid {self.hub.pid} died"), text.stdout)
        self.assertRegex(text.stdout.splitlines()[0], r"data .* old")
        time.sleep(0.3)
        self.assertEqual(self.rmqhub("clients", "--fresh", "100").returncode, STALE)
        self.hub = self.start_hub("--namesrv", self.broker.namesrv)
        wait_until(lambda: self.read("status")["hub"]["state"] == "running", 5, "a running hub", 0.05)
        again = self.read("status")
        self.assertFalse(again["stale"])
        self.assertGreater(int(again["hub"]["epoch"]), int(first["hub"]["epoch"]))
        self.assertEqual(again["hub"]["pid"], self.hub.pid)

    def test_a_stopped_hub_says_that_it_stopped(self):
        self.end_hub(self.hub)
        self.assertIn(f"HUB DOWN pid {self.hub.pid} stopped", self.rmqhub("status").stdout)

    def test_a_hanging_hub_is_silent(self):
        self.hub.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: self.read("status")["hub"]["state"] == "silent", 10, "a silent hub", 0.1)
            self.assertIn("HUB SILENT", self.rmqhub("groups").stdout)
        finally:
            self.hub.send_signal(signal.SIGCONT)
        wait_until(lambda: self.read("status")["hub"]["state"] == "running", 10, "a running hub", 0.1)

    def test_a_damaged_table_is_an_error_and_comes_back(self):
        table = self.runtime_dir / "table"
        os.truncate(table, 5000)
        result = self.rmqhub("status")
        if result.returncode != OK:  # unless the hub was quicker
            self.assertEqual(result.returncode, FAILED)
            self.assert_one_line(result.stderr, table)
        wait_until(lambda: self.rmqhub("status").returncode == OK, 5, "a new table", 0.05)
        table.unlink()
        wait_until(lambda: self.rmqhub("status").returncode == OK, 5, "a new table", 0.05)
        self.assertEqual(table.stat().st_mode & 0o7777, 0o640)
        self.assertIsNone(self.hub.poll())

    def test_another_user_is_told_how_to_get_in(self):
        self.runtime_dir.chmod(0o755)
        result = self.run_as_other("rmqhub", "status", "--runtime-dir", self.runtime_dir)
        if os.geteuid() == 0:
            self.assertEqual(result.returncode, PERMISSION, result.stderr)
            self.assert_one_line(result.stderr, "0640", "usermod")

    def test_watch_goes_on(self):
        watch = subprocess.Popen([BIN / "rmqhub", "clients", "--json", "--watch=1", "--runtime-dir", self.runtime_dir], stdout=subprocess.PIPE,
                                 text=True)
        self.addCleanup(self.end_sender, watch)
        for _ in range(2):
            self.assertEqual(json.loads(watch.stdout.readline())["schema"], "rmqhub.clients/1")


if __name__ == "__main__":
    main()
