#!/usr/bin/env python3
"""Clients that break every rule, while an honest one goes on beside them: hostile_client.c holds the attacks.

Each ends in a refusal, or in the quarantine of that client alone; the hub lives, leaks nothing, and the honest client's
messages are all stored. Its latency is printed; the bar is wide, because the machine may be busy."""

import json
import os
import shutil
import subprocess
import time
import unittest
import zlib

from system_test import BIN, SystemTest, main, run, tail, wait_until

OTHER_UID = 65533  # a user, and not the 65534 that means "unknown"
P99_BAR_US = 200_000


class Hostile(SystemTest):
    def setUp(self):
        super().setUp()
        self.broker = self.start_broker()
        self.dir.chmod(0o755)

    def hub_with(self, *lines):
        config = self.file("rmqhub.conf", "\n".join(["[hub]", *lines, "[cluster main]", f"namesrv_addr = {self.broker.namesrv}", ""]))
        self.hub = self.start_hub("--config", config)

    def attack(self, case, *args, status=0, **options):
        done = run([BIN / "hostile_client", case, self.runtime_dir, *args], 60, **options)
        self.assertEqual(done.returncode, status, f"{case}: {done.stdout}{done.stderr}\n{tail(self.log)}")
        self.assertIsNone(self.hub.poll(), f"the hub died of {case}:\n{tail(self.log)}")
        return done.stdout

    def spawn_client(self, case, first_line):
        client = subprocess.Popen([BIN / "hostile_client", case, self.runtime_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (client.kill(), client.communicate()))
        self.assertEqual(client.stdout.readline().strip(), first_line)
        return client

    def clients(self):
        result = self.rmqhub("clients", "--json")
        return json.loads(result.stdout)["items"] if result.returncode == 0 else []

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.hub.pid}/fd"))

    def in_front_of_a_bystander(self, *cases, p99_bar_us=P99_BAR_US):
        """Runs the attacks beside an honest client, then looks that nothing stays behind."""
        self.hub_with()
        bystander = self.spawn_client("bystander", "sending")
        baseline = self.descriptors()
        for case in cases:
            output = self.attack(case).strip()
            print(f"      {case}{': ' + output if output else ''}", flush=True)
        wait_until(lambda: self.descriptors() <= baseline, 10, f"the hub to return to {baseline} descriptors; it has {self.descriptors()}", 0.1)
        output, _ = bystander.communicate("", timeout=20)
        print(f"      bystander: {output.strip()}", flush=True)
        self.assertEqual(bystander.returncode, 0, output)
        p99_us = int(dict(pair.split("=") for pair in output.split())["p99_us"])
        self.assertLess(p99_us, p99_bar_us)
        mine = {(m.length, m.crc) for m in self.broker.log().stored if m.topic == "Bystander"}
        self.assertEqual(mine, {(4, zlib.crc32(b"body") & 0x7fffffff)}, "other bytes than the bystander's in its messages")
        wait_until(lambda: not self.clients(), 10, f"no client in the table; there is {self.clients()}", 0.2)
        self.end_hub(self.hub)

    def test_attacks_on_the_handshake(self):
        self.in_front_of_a_bystander("no_attach_at_all", "wrong_version", "wrong_descriptors", "wrong_segment", "wrong_header",
                                     "pidfd_of_another", "forged_h", "left_over_that_ends_at_once", "another_clock")
        for reason in ("not an ATTACH", "different versions", "seals are missing", "wrong size", "not a memfd", "nonce differs"):
            self.assertIn(reason, self.log_since(0))

    def test_half_open_and_flooded_attach(self):
        self.in_front_of_a_bystander("half_open", "flooded")
        self.assertIn("said nothing for 2 s", self.log_since(0))

    def test_attacks_through_the_socket(self):
        self.in_front_of_a_bystander("sends_after_attach", "hangs_up_and_returns", "changes_sealed_segments")

    def test_lies_in_the_lane(self):
        self.in_front_of_a_bystander("lying_tail", "lying_numbers", "lying_records", "strange_but_answered", "strange_registrations")

    def test_bytes_that_change_while_they_are_read(self):
        self.in_front_of_a_bystander("flips_during_the_drain")

    def test_doorbells_and_wake_bytes(self):
        self.in_front_of_a_bystander("saturated_doorbell", "never_reads_wake_bytes")

    def test_one_that_never_stops_sending(self):
        """Its megabytes are on the connection before ours: that is the broker's order, not a lock-out."""
        self.in_front_of_a_bystander("never_stops_sending", p99_bar_us=2_000_000)

    def test_a_quarantined_client_is_shown_with_its_reason_until_it_dies(self):
        self.hub_with()
        client = self.spawn_client("quarantined_and_waiting", "quarantined")
        wait_until(lambda: [c for c in self.clients() if "no such operation" in json.dumps(c)], 5, "the reason in the table", 0.1)
        client.communicate("", timeout=10)
        wait_until(lambda: not self.clients(), 5, "the row to go with its process", 0.1)

    def test_a_client_that_dies_with_a_lie_leaves_no_row(self):
        self.hub_with()
        for _ in range(5):
            self.attack("dies_with_a_lie", status=-9)
        wait_until(lambda: self.log_since(0).count("quarantined") >= 1, 5, "the quarantine", 0.1)
        time.sleep(1.2)
        wait_until(lambda: not self.clients(), 5, f"no row; there is {self.clients()}", 0.1)

    def test_a_stopped_client_disturbs_nobody_and_its_messages_are_sent(self):
        self.hub_with()
        bystander = self.spawn_client("bystander", "sending")
        client = self.spawn_client("stands_still", "still")
        wait_until(lambda: sum(m.topic == "Hostile" for m in self.broker.log().stored) == 200, 10, "the messages of the stopped client", 0.1)
        client.kill()
        output, _ = bystander.communicate("", timeout=20)
        self.assertEqual(bystander.returncode, 0, output)
        wait_until(lambda: not self.clients(), 10, "its row to go", 0.1)

    @unittest.skipUnless(os.geteuid() == 0, "needs root to play another user")
    def test_another_user_needs_permission(self):
        self.hub_with()
        self.runtime_dir.chmod(0o755)
        other = {"user": OTHER_UID, "group": OTHER_UID, "extra_groups": []}
        self.as_other("not_allowed", **other)
        self.assertEqual(self.log_since(0).count(f"uid {OTHER_UID}: this user is not in allow_uids"), 1)

    @unittest.skipUnless(os.geteuid() == 0, "needs root to play another user")
    def test_another_user_may_attach_by_uid_or_by_group_and_not_in_anothers_place(self):
        for line, groups in ((f"allow_uids = {OTHER_UID}", []), ("allow_gids = 65532", [65532])):
            with self.subTest(line):
                self.hub_with(line)
                self.runtime_dir.chmod(0o755)
                self.as_other("allowed", user=OTHER_UID, group=OTHER_UID, extra_groups=groups)
                if not groups:
                    self.attack("takes_anothers_place", str(OTHER_UID))
                self.end_hub(self.hub)

    def test_one_user_may_attach_so_many_and_no_more(self):
        self.hub_with("max_clients_per_uid = 4")
        self.attack("too_many")

    def as_other(self, case, **options):
        self.dir.chmod(0o755)  # copies, because that user may not be able to reach the build tree
        program = shutil.copy(BIN / "hostile_client", self.dir / "hostile_client")
        shutil.copy(BIN.parent / "lib/librmqhub.so.0", self.dir / "librmqhub.so.0")
        done = subprocess.run([program, case, self.runtime_dir], capture_output=True, text=True, timeout=30, check=False,
                              env={**os.environ, "LD_LIBRARY_PATH": str(self.dir)}, **options)
        self.assertEqual(done.returncode, 0, f"{case}: {done.stdout}{done.stderr}\n{tail(self.log)}")


if __name__ == "__main__":
    main()
