#!/usr/bin/env python3
"""rmqhubd with configurations good and bad: every error names file, line, key and what is allowed."""

import os
import shutil

from system_test import FAILED, OK, USAGE, SystemTest, main


class CheckConfig(SystemTest):
    def check(self, text, *args):
        path = self.file("rmqhub.conf", text)
        return path, self.rmqhubd("-c", path, *args, "--check-config")

    def test_a_valid_file_is_told_to_be_valid(self):
        path, result = self.check("[cluster c]\nnamesrv_addr = 127.0.0.1:9876\n")
        self.assertEqual(result.returncode, OK)
        self.assertEqual(result.stdout, f"The configuration is valid: {path}, 1 cluster.\n")

    def test_every_error_is_printed_before_the_verdict(self):
        path, result = self.check("[hub]\nlinger_ms = 999999\nnonsense = 1\n[cluster c]\nnamesrv_addr = nowhere\n")
        lines = result.stdout.splitlines()
        self.assertEqual(result.returncode, FAILED)
        self.assertEqual(lines[0], f"{path}:2: [hub] linger_ms: '999999' is not valid; allowed: a whole number from 0 to 300000")
        self.assertTrue(lines[1].startswith(f"{path}:3: [hub] nonsense: "))
        self.assertTrue(lines[2].startswith(f"{path}:5: [cluster c] namesrv_addr: 'nowhere' is not valid; allowed: "))
        self.assertEqual(lines[3:], ["The configuration is not valid."])

    def test_a_key_that_is_not_honoured_is_refused(self):
        _, result = self.check("[cluster c]\nnamesrv_addr = 127.0.0.1:9876\nunit_mode = true\n")
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("not honoured by this version", result.stdout)

    def test_a_file_that_does_not_exist_is_an_error(self):
        result = self.rmqhubd("-c", self.dir / "none.conf", "--check-config")
        self.assertEqual(result.returncode, FAILED)
        self.assertIn(f"{self.dir}/none.conf: cannot be read: No such file or directory", result.stdout)

    def test_a_file_that_may_not_be_read_is_an_error(self):
        path = self.file("secret.conf", "")
        path.chmod(0)
        result = self.run_as_other("rmqhubd", "-c", path, "--check-config")
        self.assertEqual(result.returncode, FAILED)
        self.assertIn(f"{path}: cannot be read: Permission denied", result.stdout)

    def test_the_command_line_is_checked_too(self):
        result = self.rmqhubd("--namesrv", "a b", "--check-config")
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("--namesrv: 'a b' is not valid; allowed: 1 to 16 entries host:port", result.stdout)

    def test_the_sample_configuration_is_valid(self):
        sample = self.rmqhubd("--print-sample-config")
        self.assertEqual(sample.returncode, OK)
        _, result = self.check(sample.stdout)
        self.assertEqual(result.returncode, OK, result.stdout)


class ClientSettings(SystemTest):
    """The settings of the Java client, in snake case."""

    def check(self, *lines):
        path = self.file("rmqhub.conf", "\n".join(("[cluster c]", *lines)) + "\n")
        return path, self.rmqhubd("-c", path, "--check-config")

    def test_settings_that_contradict_each_other_are_refused_with_what_to_do(self):
        for lines, line, text in (
                (("namesrv_addr = a:1", "tls_ca_file = /ca.pem"), 3, "tls_ca_file: is not used without TLS; set use_tls = true, or remove the line"),
                (("namesrv_addr = a:1", "use_tls = true", "tls_key_file = /k"), 4, "tls_key_file: a key is used with its certificate only; set tls_cert_file, too"),
                (("namesrv_addr = a:1", "use_tls = true", "tls_insecure = true", "tls_ca_file = /ca"), 5, "tls_ca_file: nothing is verified with tls_insecure = true; remove one of them"),
                (("namesrv_addr = a:1", "namesrv_domain = d"), 3, "namesrv_domain: is not used, because namesrv_addr is set on line 2; remove one of them"),
                (("write_buffer_high_water_mark_bytes = 65536", "write_buffer_low_water_mark_bytes = 65537"), 3, "write_buffer_low_water_mark_bytes: above write_buffer_high_water_mark_bytes; allowed: 0 to 65536")):
            path, result = self.check(*lines)
            self.assertEqual(result.returncode, FAILED)
            self.assertEqual(result.stdout.splitlines()[0], f"{path}:{line}: [cluster c] {text}")

    def test_a_cluster_needs_no_address_and_a_setting_without_meaning_is_no_error(self):
        for lines in ((), ("namesrv_domain = discovery.example:8081", "namesrv_domain_subgroup = s"), ("client_worker_threads = 8", "persist_consumer_offset_interval_ms = 1000")):
            _, result = self.check(*lines)
            self.assertEqual(result.returncode, OK, result.stdout)

    def test_tls_that_verifies_nobody_is_noted(self):
        path, result = self.check("namesrv_addr = a:1", "use_tls = true", "tls_insecure = true")
        self.assertEqual(result.returncode, OK)
        self.assertTrue(result.stdout.startswith(f"{path}:4: [cluster c] tls_insecure: note that no server is verified"), result.stdout)


class NamedFiles(SystemTest):
    """--check-config reads the files that the configuration names, as the hub would."""

    def check(self, credentials):
        path = self.file("rmqhub.conf", f"[cluster c]\nnamesrv_addr = 127.0.0.1:1\ncredentials_file = {credentials}\n")
        return path, self.rmqhubd("-c", path, "--check-config")

    def test_credentials_are_read(self):
        good = self.file("credentials", "access_key = a\nsecret_key = secret-of-the-test\n")
        good.chmod(0o600)
        _, result = self.check(good)
        self.assertEqual(result.returncode, OK, result.stdout)
        link = self.dir / "link"
        link.symlink_to(good)
        open_to_all = self.file("open", good.read_text())
        open_to_all.chmod(0o644)
        half = self.file("half", "access_key = a\n")
        half.chmod(0o600)
        for file, words in ((self.dir / "none", "No such file"), (link, "symbolic link"), (open_to_all, "0644"), (half, "secret_key")):
            path, result = self.check(file)
            first, *rest = result.stdout.splitlines()
            self.assertEqual(result.returncode, FAILED)
            self.assertTrue(first.startswith(f"{path}:3: [cluster c] credentials_file: "), first)
            self.assertIn(words, first)
            self.assertEqual(rest, ["The configuration is valid, but not every file that it names."])
            self.assertNotIn("secret-of-the-test", result.stdout + result.stderr)


class LastGood(SystemTest):
    """What a hub started with last is kept, and said."""

    def conf(self, linger_ms, text=""):
        return self.file("rmqhub.conf", f"[hub]\nlinger_ms = {linger_ms}\n{text}[cluster c]\nnamesrv_addr = {self.address}\n")

    def print_last_good(self, *args):
        return self.rmqhubd("--state-dir", self.state_dir, *args, "--print-last-good-config")

    def setUp(self):
        super().setUp()
        self.address = self.closed_port()

    def test_a_start_says_what_changed_since_the_last_one(self):
        self.end_hub(self.start_hub("-c", self.conf(1000)))
        before = self.log_size()
        self.end_hub(self.start_hub("-c", self.conf(1000)))
        self.assertRegex(self.log_since(before), r"0 differences to the last good configuration, of 2\d{3}-")
        before = self.log_size()
        self.end_hub(self.start_hub("-c", self.conf(2000)))
        self.assertIn("changed since: [hub] linger_ms: '1000' to '2000'", self.log_since(before))
        self.assertIn("1 difference to the last good configuration", self.log_since(before))

    def test_a_broken_file_is_refused_and_the_last_good_configuration_can_be_written(self):
        self.end_hub(self.start_hub("-c", self.conf(1000)))
        broken = self.conf(2000, "nonsense = 1\n")
        result = self.rmqhubd("-c", broken, "--runtime-dir", self.runtime_dir, "--state-dir", self.state_dir)
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("--print-last-good-config writes the last one that was", result.stderr)
        result = self.print_last_good("-c", broken)
        self.assertEqual((result.returncode, result.stderr), (OK, ""))
        self.assertIn("linger_ms = 1000\n", result.stdout)
        written = self.file("again.conf", result.stdout)
        self.assertEqual(self.rmqhubd("-c", written, "--check-config").returncode, OK)
        before = self.log_size()
        self.end_hub(self.start_hub("-c", written))
        self.assertIn("0 differences to the last good configuration", self.log_since(before))

    def test_it_is_not_read_under_a_running_hub_nor_invented(self):
        result = self.print_last_good()
        self.assertEqual(result.returncode, FAILED)
        self.assert_one_line(result.stderr, self.state_dir, "No such file or directory")
        hub = self.start_hub("-c", self.conf(1000))
        result = self.print_last_good()
        self.assertEqual(result.returncode, FAILED)
        self.assert_one_line(result.stderr, "a hub is running", "rmqhub config")
        self.end_hub(hub)
        shutil.rmtree(self.state_dir)
        self.state_dir.mkdir(mode=0o700)
        result = self.print_last_good()
        self.assertEqual(result.returncode, FAILED)
        self.assert_one_line(result.stderr, "no configuration is kept there")


class CommandLine(SystemTest):
    def test_an_unknown_option_is_a_usage_error(self):
        result = self.rmqhubd("--no-such-option")
        self.assertEqual(result.returncode, USAGE)
        self.assertIn("see rmqhubd --help", result.stderr)

    def test_a_stray_word_is_a_usage_error(self):
        result = self.rmqhubd("start")
        self.assertEqual(result.returncode, USAGE)
        self.assert_one_line(result.stderr, "'start' is not expected")

    def test_help_and_version_go_to_stdout(self):
        self.assertIn("usage: rmqhubd", self.rmqhubd("--help").stdout)
        self.assertRegex(self.rmqhubd("--version").stdout, r"^rmqhubd \d+\.\d+\.\d+\n$")

    def test_a_hub_does_not_start_on_an_invalid_configuration(self):
        path = self.file("rmqhub.conf", "[hub]\nlinger_ms = x\n[cluster c]\nnamesrv_addr = 127.0.0.1:1\n")
        result = self.rmqhubd("-c", path, "--runtime-dir", self.runtime_dir)
        self.assertEqual(result.returncode, FAILED)
        self.assertIn(f"rmqhubd: {path}:2: [hub] linger_ms: 'x' is not valid", result.stderr)
        self.assertIn("not started, because the configuration is not valid", result.stderr)
        self.assertFalse(self.runtime_dir.exists())

    def test_no_cluster_at_all_says_what_to_give(self):
        if os.path.exists("/etc/rmqhub/rmqhub.conf"):
            self.skipTest("this machine has a configuration")
        result = self.rmqhubd("--runtime-dir", self.runtime_dir)
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("give --namesrv host:port", result.stderr)


if __name__ == "__main__":
    main()
