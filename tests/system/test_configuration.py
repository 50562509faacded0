#!/usr/bin/env python3
"""rmqhubd with configurations good and bad: every error names file, line, key and what is allowed."""

import os

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
