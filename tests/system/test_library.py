#!/usr/bin/env python3
"""What librmqhub promises its callers: deadlines, outcomes, states, fork, threads (library_probe.c holds the cases)."""

import json
import os
import subprocess

from system_test import BIN, SystemTest, main, run, wait_until


class Library(SystemTest):
    def probe(self, case, hub=None):
        done = run([BIN / "library_probe", case, str(hub.pid if hub else 0)], 60, {"RMQHUB_RUNTIME_DIR": str(self.runtime_dir)})
        self.assertEqual(done.returncode, 0, f"{done.stdout}{done.stderr}\n{self.log_since(0) if self.log.exists() else ''}")

    def probe_with_hub(self, case):
        broker = self.start_broker()
        self.probe(case, self.start_hub("--namesrv", broker.namesrv))

    def test_attach_without_a_hub_says_so_at_once(self):
        self.probe("no_hub")

    def test_a_producer_has_the_states_of_4_9_3(self):
        self.probe_with_hub("states")

    def test_a_duplicate_group_is_refused_under_an_explicit_instance_name_and_joins_under_default(self):
        self.probe_with_hub("duplicate_group")

    def test_two_producers_of_one_group_have_settings_of_their_own(self):
        self.probe_with_hub("settings")

    def test_bad_messages_are_refused_before_acceptance(self):
        self.probe_with_hub("bad_messages")

    def test_a_send_without_a_hub_ends_not_stored_at_its_deadline(self):
        self.probe_with_hub("hub_gone")

    def test_a_shutdown_does_not_wait_for_a_hub_that_is_gone(self):
        self.probe_with_hub("shutdown_without_hub")

    def test_a_send_to_a_stopped_hub_ends_unknown_at_its_deadline_and_its_late_answer_is_counted(self):
        self.probe_with_hub("hub_stopped")

    def test_the_descriptor_wakes_for_a_deadline_that_the_hub_cannot_keep(self):
        self.probe_with_hub("async_hub_stopped")

    def test_credit_is_refused_or_waited_for_never_exceeded(self):
        self.probe_with_hub("credit")

    def test_the_largest_deadline_is_as_good_as_none(self):
        self.probe_with_hub("no_deadline")

    def test_oneway_ends_unknown_with_or_without_a_callback(self):
        self.probe_with_hub("oneway")

    def test_a_forked_child_is_told_and_attaches_anew(self):
        self.probe_with_hub("after_fork")

    def test_descriptors_closed_behind_the_library_are_survived_and_the_applications_own_are_left_alone(self):
        self.probe_with_hub("closed_descriptors")

    def test_eight_threads_share_a_producer(self):
        self.probe_with_hub("threads")

    def test_what_was_accepted_before_a_detach_is_sent_while_the_process_lives_on(self):
        broker = self.start_broker()
        hub = self.start_hub("--namesrv", broker.namesrv)
        for times in range(1, 6):
            process = subprocess.Popen([BIN / "library_probe", "leaves_and_lives", str(hub.pid)], stdin=subprocess.PIPE,
                                       env={**os.environ, "RMQHUB_RUNTIME_DIR": str(self.runtime_dir)})
            self.addCleanup(lambda p=process: (p.kill(), p.communicate()))
            wait_until(lambda n=times: len(broker.log().stored) == n * 201, 10, f"{times * 201} messages", 0.05)
            self.assertIsNone(process.poll())
            process.communicate(timeout=10)

    def test_a_detach_is_heard_though_a_child_holds_copies_of_the_descriptors(self):
        hub = self.start_hub("--namesrv", self.closed_port())
        process = subprocess.Popen([BIN / "library_probe", "leaves_a_child_behind", str(hub.pid)], stdin=subprocess.PIPE, text=True,
                                   env={**os.environ, "RMQHUB_RUNTIME_DIR": str(self.runtime_dir)})
        self.addCleanup(lambda: (process.kill(), process.communicate()))

        def rows():
            result = self.rmqhub("clients", "--json")
            return len(json.loads(result.stdout)["items"]) if result.returncode == 0 else None
        wait_until(lambda: rows() == 1, 5, "its row", 0.05)
        process.stdin.write("\n")
        process.stdin.flush()
        wait_until(lambda: rows() == 0, 5, "its row to go", 0.05)
        process.communicate(timeout=10)

    def test_descriptors_closed_before_a_detach_are_left_alone(self):
        self.probe_with_hub("closed_and_left")

    def test_uniq_keys_are_new_or_as_the_caller_says(self):
        self.probe_with_hub("uniq_key")


if __name__ == "__main__":
    main()
