"""Shows that the checks bite: each promise is broken once, by hand, and must be reported. run.sh runs this first."""

import contextlib
import io
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))

import ledger
import message_rule
from java_peer import Stored, parse_producer_connection
from processes import CheckFailed, check

GOOD = """I 0 K0 11 5
S 0 K0 11 5
I 1 K1 12 5
S 1 K1 12 5
R 0 STORED SEND_OK 0 1 0 2 7 K0\x20
R 1 NOT_STORED - 10005 0 0 -1 -1 K1 no route to topic T
"""
IN_BROKER = [("K0", 2, 7)]


def stored(*places):
    return [Stored(key, "broker-a", queue, offset, 11, 5, "", "", 0, 0, {}) for key, queue, offset in places]


def entries(text):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "p.ledger"
        path.write_text(text)
        return list(ledger.read(path, "p").values())


class LedgerTest(unittest.TestCase):
    def setUp(self):
        quiet = contextlib.redirect_stdout(io.StringIO())
        quiet.__enter__()
        self.addCleanup(quiet.__exit__, None, None, None)

    def assert_broken(self, text, places, promise, died=frozenset()):
        with self.assertRaises(CheckFailed) as caught:
            ledger.check_promises(entries(text), stored(*places), died)
        self.assertIn(promise, str(caught.exception))

    def test_kept_promises_pass(self):
        ledger.check_promises(entries(GOOD), stored(*IN_BROKER))

    def test_a_check_that_fails_raises(self):
        self.assertRaises(CheckFailed, check, False, "1 is 2")

    def test_stored_but_not_in_the_broker(self):
        self.assert_broken(GOOD, [], "STORED is in the broker")

    def test_stored_elsewhere(self):
        self.assert_broken(GOOD, [("K0", 2, 8)], "in the queue and at the offset")

    def test_not_stored_but_in_the_broker(self):
        self.assert_broken(GOOD, IN_BROKER + [("K1", 0, 0)], "NOT_STORED is not in the broker")

    def test_two_completions(self):
        self.assert_broken(GOOD + "R 0 UNKNOWN - 0 1 0 -1 -1 K0 late\n", IN_BROKER, "exactly one completion")

    def test_no_completion(self):
        without = GOOD.replace("R 1 NOT_STORED - 10005 0 0 -1 -1 K1 no route to topic T\n", "")
        self.assert_broken(without, IN_BROKER, "exactly one completion")
        ledger.check_promises(entries(without), stored(*IN_BROKER), {"p"})   # unless its process was killed

    def test_completion_of_what_was_not_accepted(self):
        self.assert_broken(GOOD.replace("S 1 K1 12 5\n", ""), IN_BROKER, "exactly one completion")

    def test_duplicate_without_flag(self):
        twice = IN_BROKER + [("K0", 1, 3)]
        self.assert_broken(GOOD, twice, "every duplicate is flagged")
        ledger.check_promises(entries(GOOD.replace("STORED SEND_OK 0 1 0", "STORED SEND_OK 0 2 1", 1)), stored(*twice))

    def test_same_key_for_two_messages(self):
        self.assert_broken(GOOD.replace("K1", "K0"), IN_BROKER, "distinct UNIQ_KEYs")

    def test_stranger_in_the_broker(self):
        self.assert_broken(GOOD, IN_BROKER + [("K9", 0, 0)], "nobody sent")

    def test_unfinished_last_line_is_left_out(self):
        self.assertEqual(len(entries(GOOD + "I 2 K2 1")), 2)


class ParserTest(unittest.TestCase):
    def test_producer_connection(self):
        rows = parse_producer_connection(
            "0001  192.0.2.2@4711#81  192.0.2.2:40822        JAVA     V4_9_3\n"
            "2026-01-01 00:00:00,000 WARN RocketmqCommon Cannot find conf file\n"
            "For more information, please visit the url\n")
        self.assertEqual([tuple(r) for r in rows], [("192.0.2.2@4711#81", "192.0.2.2:40822", "JAVA", "V4_9_3")])

    def test_message_rule(self):
        self.assertEqual(message_rule.body("p", 3, 8), b"p:3:" + bytes([121, 128, 135, 142]))


if __name__ == "__main__":
    unittest.main()
