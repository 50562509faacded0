"""What every system test needs: the programs of one build, directories of its own, a hub and a broker when it asks for them.

Run one file with ctest, or by hand: RMQHUB_BIN_DIR=build/dev/bin tests/system/test_start.py [-v] [Class.test]
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "support"), str(HERE.parent / "real")]

# pylint: disable=wrong-import-position
from devbroker import DevBroker
from processes import run, spawn, stop, tail, wait_until

BIN = pathlib.Path(os.environ.get("RMQHUB_BIN_DIR") or HERE.parents[1] / "build/dev/bin").resolve()

OTHER_UID = 54321  # nobody on any machine

# Names as in rmqhub's documented exit codes.
OK, FAILED, USAGE, NO_HUB, NOT_FOUND, PERMISSION, VERSION, TIMEOUT = range(8)


class SystemTest(unittest.TestCase):
    """Each test gets an empty directory; whatever it starts is gone when it ends, however it ends."""

    def setUp(self):
        # Short, because a Unix socket's path has room for 107 bytes.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rmqhub-st-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.runtime_dir = self.dir / "run"
        self.state_dir = self.dir / "state"
        self.log = self.dir / "rmqhubd.log"

    def file(self, name, text):
        path = self.dir / name
        path.write_text(text, encoding="utf-8")
        return path

    def rmqhubd(self, *args, env=None):
        """Runs rmqhubd to its end."""
        return run([BIN / "rmqhubd", *args], 20, {"NAMESRV_ADDR": "", "RMQHUB_RUNTIME_DIR": "", "RMQHUB_LOG_LEVEL": "", **(env or {})})

    def rmqhub(self, *args, timeout_s=30):
        """Runs a verb of rmqhub to its end against this test's hub."""
        return run([BIN / "rmqhub", args[0], "--runtime-dir", self.runtime_dir, *args[1:]], timeout_s)

    def run_as_other(self, program, *args, **options):
        """Runs a program to its end as a user who is neither root nor, when root runs the tests, the owner of anything here."""
        if os.geteuid() == 0:
            options.update(user=OTHER_UID, group=OTHER_UID, extra_groups=[])
        self.dir.chmod(0o755)
        copy = shutil.copy(BIN / program, self.dir / program)  # where that user may reach it
        result = subprocess.run([copy, *args], capture_output=True, text=True, timeout=20, check=False, **options)
        # An instrumented build complains that this user may not write beside the objects.
        result.stderr = "".join(line for line in result.stderr.splitlines(True) if not line.startswith("profiling:"))
        return result

    def start_broker(self, *options):
        """A nameserver and a broker on free ports, which take commands (tests/devbroker/README.md)."""
        broker = DevBroker(BIN, self.dir, *options)
        self.addCleanup(broker.__exit__)
        return broker.__enter__()

    def start_hub(self, *args, env=None, ready=True):
        """Starts rmqhubd; its log is self.log. Waits until it says that it is ready."""
        started = self.log_size()
        process = spawn([BIN / "rmqhubd", "--runtime-dir", self.runtime_dir, "--state-dir", self.state_dir, *args], self.log,
                        {"NAMESRV_ADDR": "", **(env or {})})
        self.addCleanup(stop, process)
        if ready:
            self.wait_for_log("ready", started, process)
        return process

    def log_size(self):
        return self.log.stat().st_size if self.log.exists() else 0

    def log_since(self, size):
        with open(self.log, "rb") as log:
            log.seek(size)
            return log.read().decode(errors="replace")

    def wait_for_log(self, text, since=0, process=None):
        def there():
            self.assertFalse(process and process.poll() is not None, f"rmqhubd ended early:\n{tail(self.log)}")
            return text in self.log_since(since)
        wait_until(there, 20, f"'{text}' in the hub's log:\n{tail(self.log)}", 0.01)

    def closed_port(self):
        """An address on loopback that refuses connections: bound for the length of the test, never listened on."""
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        self.addCleanup(s.close)
        return f"127.0.0.1:{s.getsockname()[1]}"

    def start_sender(self, *args):
        """`rmqhub send` of one message or more, in the background; finish_sender() waits for it."""
        sender = subprocess.Popen([BIN / "rmqhub", "send", "--runtime-dir", self.runtime_dir, "--group", "g", "--topic", "T", "--body", "x", *args],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(lambda: (sender.kill(), sender.communicate()))
        return sender

    def finish_sender(self, sender, status, timeout_s=20):
        """Its output, when it ended with that status."""
        output, _ = sender.communicate(timeout=timeout_s)
        self.assertEqual(sender.returncode, status, output)
        return output

    def wait_for_pending(self, count):
        """Waits until so many requests are on the wire."""
        def pending():
            result = self.rmqhub("pending", "--json")
            return result.returncode == OK and len(json.loads(result.stdout)["items"]) >= count
        wait_until(pending, 10, f"{count} pending requests", 0.02)

    def end_hub(self, process, status=0, sig=signal.SIGTERM, timeout_s=20):
        process.send_signal(sig)
        self.assertEqual(process.wait(timeout_s), status, tail(self.log))

    def assert_one_line(self, text, *parts):
        """Exactly one line, and it mentions all parts."""
        self.assertEqual(len(text.splitlines()), 1, text)
        for part in parts:
            self.assertIn(str(part), text)


def main():
    unittest.main(module="__main__", verbosity=2)
