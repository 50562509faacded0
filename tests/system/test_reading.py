#!/usr/bin/env python3
"""The reading verbs of rmqhub on a hub that lives, has died, was never there, or left a table that makes no sense."""

import json
import os

from system_test import FAILED, NO_HUB, OK, PERMISSION, VERSION, SystemTest, main, wait_until

VERBS = ("status", "instances", "groups", "clients", "routes", "brokers", "heartbeats", "pending", "connections", "tasks", "events", "stats", "config")


class Reading(SystemTest):
    def start_all(self):
        self.broker = self.start_broker()
        self.hub = self.start_hub("--namesrv", self.broker.namesrv)
        self.assertEqual(self.rmqhub("send", "--group", "g", "--topic", "T", "--body", "x").returncode, OK)
        wait_until(lambda: self.envelope("routes")["items"], 5, "the route in the table")

    def envelope(self, verb):
        result = self.rmqhub(verb, "--json")
        self.assertEqual(result.returncode, OK, result.stderr)
        return json.loads(result.stdout)

    def test_every_verb_answers_in_text_and_in_its_json_envelope(self):
        self.start_all()
        for verb in VERBS:
            with self.subTest(verb=verb):
                envelope = self.envelope(verb)
                self.assertEqual(envelope["schema"], f"rmqhub.{verb}/1")
                self.assertFalse(envelope["stale"])
                self.assertIsInstance(envelope["items"], list)
                self.assertEqual(self.rmqhub(verb).returncode, OK)

    def test_what_was_done_is_seen(self):
        self.start_all()
        wait_until(lambda: self.envelope("groups")["items"][0]["stored"] in (1, "1"), 5, "the message to be counted")
        self.assertEqual([item["group"] for item in self.envelope("groups")["items"]], ["g"])
        self.assertIn("broker-a", [item["broker"] for item in self.envelope("brokers")["items"]])
        settings = {item["key"]: item for item in self.envelope("config")["items"]}
        self.assertEqual(settings["hub.linger_ms"]["value"], "60000")
        self.assertEqual(settings["hub.runtime_dir"]["source"], "command_line")

    def test_a_dead_hub_s_table_is_read_and_said_to_be_dead(self):
        self.start_all()
        self.hub.kill()
        self.hub.wait()
        for verb in VERBS:
            with self.subTest(verb=verb):
                envelope = self.envelope(verb)
                self.assertEqual(envelope["hub"]["state"], "dead")
                self.assertTrue(envelope["stale"])
        text = self.rmqhub("status")
        self.assertIn(f"HUB DOWN pid {self.hub.pid}", text.stdout + text.stderr)

    def test_no_hub_and_no_table_is_told_with_what_to_do(self):
        for verb in VERBS:
            result = self.rmqhub(verb)
            self.assertEqual(result.returncode, NO_HUB)
            self.assert_one_line(result.stdout + result.stderr, "rmqhubd")

    def test_a_damaged_table_is_refused_and_the_next_hub_replaces_it(self):
        self.start_all()
        self.hub.kill()
        self.hub.wait()
        table = self.runtime_dir / "table"
        good = table.read_bytes()
        for damaged in (b"", good[:100], good[:5000], b"\0" * len(good), os.urandom(4096) + good[4096:]):
            table.write_bytes(damaged)
            for verb in VERBS:
                result = self.rmqhub(verb)
                self.assertIn(result.returncode, (FAILED, VERSION), result.stderr)
                self.assert_one_line(result.stdout + result.stderr, verb)
        self.start_hub("--namesrv", self.broker.namesrv)
        self.assertFalse(self.envelope("status")["stale"])

    def test_another_user_is_told_that_it_may_not_look(self):
        self.start_all()
        result = self.run_as_other("rmqhub", "status", "--runtime-dir", self.runtime_dir)
        if os.geteuid() == 0:
            self.assertEqual(result.returncode, PERMISSION, result.stdout + result.stderr)
            self.assert_one_line(result.stdout + result.stderr, self.runtime_dir)


if __name__ == "__main__":
    main()
