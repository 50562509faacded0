#!/usr/bin/env python3
"""What bad input and bad moments get from `rmqhub send`: one line that says what, where and what to do, and an exit code."""

import json
import os
import signal
import unittest

from system_test import FAILED, NO_HUB, OK, OTHER_UID, PERMISSION, TIMEOUT, USAGE, SystemTest, main


class Send(SystemTest):
    def setUp(self):
        super().setUp()
        self.broker = self.start_broker()
        self.hub = self.start_hub("--namesrv", self.broker.namesrv)

    def send(self, *args, group="g", topic="T", body="hello"):
        return self.rmqhub("send", "--group", group, "--topic", topic, "--body", body, *args)

    def assert_refused(self, result, code, *words):
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        self.assert_one_line(result.stdout + result.stderr, *words)

    def assert_sends(self):
        """The hub goes on for everybody else."""
        result = self.send()
        self.assertEqual(result.returncode, OK, result.stdout + result.stderr)

    def tearDown(self):
        self.assertIsNone(self.hub.poll(), "the hub died")
        super().tearDown()


class BadInput(Send):
    def test_illegal_groups_are_refused_by_name(self):
        for group, word in (("", "blank"), ("g" * 256, "longer than 255"), ("a b", "character outside"), ("DEFAULT_PRODUCER", "DEFAULT_PRODUCER")):
            with self.subTest(group=group[:20]):
                self.assert_refused(self.send(group=group), USAGE, "RMQHUB_ERR_GROUP_ILLEGAL", word)
        self.assert_sends()

    def test_illegal_topics_are_refused_by_name(self):
        for topic in ("", "t" * 128, "a/b", "SCHEDULE_TOPIC_XXXX"):
            with self.subTest(topic=topic[:20]):
                self.assert_refused(self.send(topic=topic), USAGE, "RMQHUB_ERR_TOPIC_ILLEGAL")
        self.assertEqual(self.send(topic="t" * 127).returncode, OK)

    def test_an_empty_body_and_one_over_the_limit_are_refused(self):
        self.assert_refused(self.send(body=""), USAGE, "RMQHUB_ERR_MESSAGE_ILLEGAL", "no body")
        result = self.rmqhub("send", "--group", "g", "--topic", "T", "--size", 4 * 1024 * 1024 + 1)
        self.assert_refused(result, USAGE, "4194304")

    def test_an_unknown_cluster_is_refused(self):
        self.assert_refused(self.send("--cluster", "nowhere"), FAILED, "no such cluster")

    def test_a_bad_list_of_nameservers_is_refused_with_its_form(self):
        self.assert_refused(self.send("--namesrv", "nonsense"), FAILED, "host:port;host:port")


@unittest.skipUnless(os.geteuid() == 0, "needs root to play other users")
class Permission(SystemTest):
    """Who may attach: the kernel's word for uid and groups, held against the lists."""

    def start(self, setting):
        self.broker = self.start_broker()
        conf = self.file("rmqhub.conf", f"[hub]\n{setting}\n[cluster c]\nnamesrv_addr = {self.broker.namesrv}\n")
        hub = self.start_hub("-c", conf)
        self.runtime_dir.chmod(0o755)
        return hub

    def send_as_other(self):
        return self.run_as_other("rmqhub", "send", "--group", "g", "--topic", "T", "--body", "x", "--runtime-dir", self.runtime_dir)

    def test_a_user_of_the_list_may_come_in(self):
        self.start(f"allow_uids = 1, {OTHER_UID}")
        self.assertEqual(self.send_as_other().returncode, OK)

    def test_a_group_of_the_list_may_come_in(self):
        self.start(f"allow_gids = {OTHER_UID}")
        self.assertEqual(self.send_as_other().returncode, OK)

    def test_a_reload_lets_a_user_in_and_out(self):
        hub = self.start("")
        self.assertEqual(self.send_as_other().returncode, PERMISSION)
        for setting, status in ((f"allow_uids = {OTHER_UID}", OK), ("", PERMISSION)):
            before = self.log_size()
            self.file("rmqhub.conf", f"[hub]\n{setting}\n[cluster c]\nnamesrv_addr = {self.broker.namesrv}\n")
            hub.send_signal(signal.SIGHUP)
            self.wait_for_log("reloaded, 1 setting applied", before, hub)
            self.assertEqual(self.send_as_other().returncode, status)

    def test_a_directory_that_it_may_not_enter_keeps_everybody_out(self):
        self.start("allow_uids = *")
        self.runtime_dir.chmod(0o750)
        result = self.send_as_other()
        self.assertEqual(result.returncode, PERMISSION, result.stdout + result.stderr)

    def test_a_group_belongs_to_the_user_who_registered_it(self):
        self.start(f"allow_uids = {OTHER_UID}")
        self.assertEqual(self.rmqhub("send", "--group", "g", "--topic", "T", "--body", "x").returncode, OK)
        result = self.send_as_other()
        self.assertIn(result.returncode, (FAILED, PERMISSION))
        self.assert_one_line(result.stdout + result.stderr, "uid")


class BadMoments(Send):
    def test_no_hub_is_told_with_what_to_do(self):
        result = self.rmqhub("send", "--group", "g", "--topic", "T", "--body", "x", "--runtime-dir", self.dir / "nothing")
        self.assert_refused(result, NO_HUB, "start rmqhubd")

    def test_a_stopped_hub_is_told_like_none(self):
        other = self.dir / "other"
        hub = self.start_hub("--namesrv", self.broker.namesrv, "--runtime-dir", other, "--state-dir", self.dir / "other-state")
        self.end_hub(hub)
        result = self.rmqhub("send", "--group", "g", "--topic", "T", "--body", "x", "--runtime-dir", other)
        self.assert_refused(result, NO_HUB, "start rmqhubd")

    def test_another_user_may_not_come_in(self):
        self.runtime_dir.chmod(0o755)
        result = self.run_as_other("rmqhub", "send", "--group", "g", "--topic", "T", "--body", "x", "--runtime-dir", self.runtime_dir)
        if os.geteuid() == 0:
            self.assert_refused(result, PERMISSION)
        self.assert_sends()

    def test_no_nameserver_ends_not_stored_with_the_nameserver_s_error(self):
        self.assert_refused(self.send("--namesrv", self.closed_port(), "--timeout", "300"), FAILED, "NOT_STORED", "Connection refused")

    def test_a_topic_without_a_route_ends_not_stored(self):
        broker = self.start_broker_in("no-auto", "--no-auto-create")
        self.assert_refused(self.send("--namesrv", broker.namesrv, "--timeout", "1000"), FAILED, "NOT_STORED", "10005")

    def test_a_topic_without_a_writable_queue_ends_not_stored(self):
        self.broker.command("topic ReadOnly 4 4")
        self.assert_refused(self.send("--timeout", "1000", topic="ReadOnly"), FAILED, "NOT_STORED")
        self.assert_sends()

    def test_a_broker_s_refusal_is_handed_on_with_its_code(self):
        self.broker.command("fault 310 error=13 times=1")
        self.assert_refused(self.send(), FAILED, "NOT_STORED", "code 13")
        self.assert_sends()

    def test_no_answer_by_the_deadline_is_unknown(self):
        self.broker.command("fault 310 store-no-reply times=1")
        self.assert_refused(self.send("--timeout", "300"), TIMEOUT, "UNKNOWN")
        self.assertEqual(len(self.broker.log().stored), 1)
        self.assert_sends()

    def test_a_lost_connection_is_unknown_at_once(self):
        self.assert_sends()
        self.broker.command("fault 310 store-rst times=1")
        result = self.send("--timeout", "20000", "--json")
        self.assertEqual(result.returncode, TIMEOUT, result.stdout + result.stderr)
        self.assertEqual(json.loads(result.stdout)["items"][0]["outcome"], "UNKNOWN")
        self.assert_sends()

    def test_garbage_from_a_broker_closes_that_connection_and_no_more(self):
        for fault in ("garbage=64", "wrong-opaque", "duplicate", "cut=10"):
            with self.subTest(fault=fault):
                self.broker.command(f"fault 310 {fault} times=1")
                self.assertIn(self.send("--timeout", "500").returncode, (OK, TIMEOUT))
                self.assert_sends()

    def test_stored_with_a_warning_is_stored(self):
        for code, status in ((10, "FLUSH_DISK_TIMEOUT"), (11, "SLAVE_NOT_AVAILABLE"), (12, "FLUSH_SLAVE_TIMEOUT")):
            self.broker.command(f"fault 310 status={code} times=1")
            result = self.send()
            self.assertEqual(result.returncode, OK)
            self.assert_one_line(result.stdout, f"STORED {status}")

    def test_a_hub_killed_in_the_middle_costs_no_message(self):
        self.broker.command("fault 310 delay=500")
        sender = self.start_sender("--count", "50", "--mode", "async", "--timeout", "15000")
        self.wait_for_pending(1)
        self.hub.kill()
        self.hub.wait()
        self.hub = self.start_hub("--namesrv", self.broker.namesrv)
        self.assertIn("50 STORED", self.finish_sender(sender, OK))
        keys = {message.uniq_key for message in self.broker.log().stored}
        self.assertEqual(len(keys), 50)

    def test_one_dead_broker_address_does_not_hold_up_another_cluster(self):
        dead = self.start_sender("--namesrv", self.closed_port(), "--timeout", "2000")
        self.assert_sends()
        self.finish_sender(dead, FAILED)

    # ---- helpers ----

    def start_broker_in(self, name, *options):
        (self.dir / name).mkdir()
        mine, self.dir = self.dir, self.dir / name
        try:
            return self.start_broker(*options)
        finally:
            self.dir = mine


if __name__ == "__main__":
    main()
