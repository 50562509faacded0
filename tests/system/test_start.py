#!/usr/bin/env python3
"""How a hub starts: its directories, its lock, what it says, and what it does about a file that changes."""

import os
import signal
import socket
import stat
import unittest

from system_test import FAILED, OK, OTHER_UID, SystemTest, main


class Directories(SystemTest):
    def test_missing_directories_are_made_with_their_modes(self):
        hub = self.start_hub("--namesrv", self.closed_port())
        self.assertEqual(stat.S_IMODE(self.runtime_dir.stat().st_mode), 0o750)
        self.assertEqual(stat.S_IMODE(self.state_dir.stat().st_mode), 0o700)
        self.assertTrue(stat.S_ISSOCK((self.runtime_dir / "hub.sock").stat().st_mode))
        self.end_hub(hub)

    def refused(self, *words):
        """By a hub that does not run as root, whoever runs the tests: root may do everything."""
        if os.geteuid() == 0:
            for path in (self.dir, *self.dir.iterdir()):
                os.chown(path, OTHER_UID, OTHER_UID, follow_symlinks=False)
        result = self.run_as_other("rmqhubd", "--namesrv", "127.0.0.1:1", "--runtime-dir", self.runtime_dir, "--state-dir", self.state_dir)
        self.assertEqual(result.returncode, FAILED, result.stderr)
        problems = [line for line in result.stderr.splitlines() if "not started" in line]
        self.assert_one_line("\n".join(problems), *words)

    def test_a_symbolic_link_is_not_followed(self):
        (self.dir / "real").mkdir(mode=0o700)
        self.runtime_dir.symlink_to(self.dir / "real")
        self.refused(self.runtime_dir, "symbolic link is not followed")
        self.assertEqual(list((self.dir / "real").iterdir()), [])

    def test_a_directory_that_others_may_write_is_refused(self):
        self.runtime_dir.mkdir()
        self.runtime_dir.chmod(0o777)
        self.refused(self.runtime_dir, "0777", "chmod 0750")

    def test_a_state_directory_that_others_may_read_is_refused(self):
        self.state_dir.mkdir()
        self.state_dir.chmod(0o755)
        self.refused(self.state_dir, "0755", "chmod 0700")

    def test_a_file_in_the_place_of_the_directory_is_refused(self):
        self.file("state", "")
        self.refused(self.state_dir, "is not a directory")

    def test_a_place_that_may_not_be_written_is_named(self):
        self.runtime_dir.mkdir(mode=0o700)
        self.state_dir = self.runtime_dir / "shut" / "state"
        self.state_dir.parent.mkdir(mode=0o500)
        self.refused(self.state_dir, "cannot be made or opened: Permission denied", "name another")

    @unittest.skipUnless(os.geteuid() == 0, "needs root to play another user")
    def test_another_user_cannot_take_the_directories_over(self):
        self.runtime_dir.mkdir(mode=0o755)
        result = self.run_as_other("rmqhubd", "--namesrv", "127.0.0.1:1", "--runtime-dir", self.runtime_dir, "--state-dir", self.state_dir)
        self.assertEqual(result.returncode, FAILED)
        self.assertIn(f"belongs to uid 0, not to this hub's uid {OTHER_UID}", result.stderr)


class Lock(SystemTest):
    def test_a_second_hub_on_the_same_runtime_directory_gets_the_pid_of_the_first(self):
        first = self.start_hub("--namesrv", self.closed_port())
        result = self.rmqhubd("--namesrv", "127.0.0.1:1", "--runtime-dir", self.runtime_dir, "--state-dir", self.dir / "other")
        self.assertEqual(result.returncode, FAILED)
        problems = [line for line in result.stderr.splitlines() if "not started" in line]
        self.assert_one_line("\n".join(problems), f"another hub (pid {first.pid}) is running on {self.runtime_dir}")
        self.assertIsNone(first.poll())
        self.end_hub(first)

    def test_a_second_hub_on_the_same_state_directory_is_refused(self):
        first = self.start_hub("--namesrv", self.closed_port())
        result = self.rmqhubd("--namesrv", "127.0.0.1:1", "--runtime-dir", self.dir / "other", "--state-dir", self.state_dir)
        self.assertEqual(result.returncode, FAILED)
        self.assertIn(f"another hub (pid {first.pid}) is running on {self.state_dir}", result.stderr)
        self.end_hub(first)

    def test_a_killed_hub_leaves_nothing_in_the_way_of_the_next(self):
        first = self.start_hub("--namesrv", self.closed_port())
        first.kill()
        first.wait()
        self.end_hub(self.start_hub("--namesrv", self.closed_port()))


class Readiness(SystemTest):
    def test_systemd_is_told_of_the_start_and_the_end(self):
        path = self.dir / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(path))
            notify.settimeout(20)
            hub = self.start_hub("--namesrv", self.closed_port(), env={"NOTIFY_SOCKET": str(path)})
            self.assertEqual(notify.recv(100), b"READY=1")
            hub.send_signal(signal.SIGTERM)
            self.assertEqual(notify.recv(100), b"STOPPING=1")
            self.assertEqual(hub.wait(20), OK)

    def test_the_configuration_is_told_at_the_start(self):
        path = self.file("rmqhub.conf", "[hub]\nlinger_ms = 1234\n[cluster c]\nnamesrv_addr = 127.0.0.1:1\n")
        hub = self.start_hub("-c", path, "--log-level", "info")
        log = self.log_since(0)
        self.assertIn(f"[hub] linger_ms = 1234 ({path}:2)", log)
        self.assertIn("[hub] log_level = info (command line)", log)
        self.assertIn(f"[hub] runtime_dir = {self.runtime_dir} (command line)", log)
        self.end_hub(hub)

    def test_descriptors_are_raised_to_the_hard_limit(self):
        hub = self.start_hub("--namesrv", self.closed_port())
        with open(f"/proc/{hub.pid}/limits", encoding="ascii") as limits:
            soft, hard = next(line for line in limits if line.startswith("Max open files")).split()[3:5]
        self.assertEqual(soft, hard)
        self.end_hub(hub)


if __name__ == "__main__":
    main()
