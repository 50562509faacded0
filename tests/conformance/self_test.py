"""Shows that the comparison bites: the Java client's recorded trace is compared with itself, with one thing changed at a time.

recorded_java.trace was written by tests/real's check "conformance"; it never gets old, because 4.9.3 does not change."""

import copy
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import client_trace
import compare

MARKS = client_trace.read_marks((HERE / "recorded_java.marks").read_text())
ROWS = client_trace.read_rows(HERE / "recorded_java.trace")
HEART_BEAT, SEND, ROUTE, UNREGISTER = 34, 310, 105, 35


def facts(rows, marks=None):
    return compare.compare(client_trace.build(ROWS, MARKS), client_trace.build(rows, marks or MARKS), {}, {})[0]


def requests(rows, code):
    return [row for row in rows if row["event"] == "request" and row["code"] == code]


class ComparisonTest(unittest.TestCase):
    def setUp(self):
        self.rows = copy.deepcopy(ROWS)

    def assert_fact(self, pattern, marks=None):
        found = facts(self.rows, marks)
        self.assertTrue(any(compare.re.search(pattern, fact) for fact in found), f"no fact like {pattern!r} in {found}")
        self.assertTrue(compare.judge(found, [])[0])

    def shift(self, row, seconds):
        """Moves a request and its answer in time."""
        for other in self.rows:
            if other["connection"] == row["connection"] and other.get("opaque") == row["opaque"]:
                other["ns"] += int(seconds * 1e9)

    def test_a_trace_equals_itself(self):
        found, summary = compare.compare(client_trace.build(ROWS, MARKS), client_trace.build(self.rows, MARKS), {}, {})
        self.assertEqual(found, [])
        self.assertEqual(compare.judge(found, [])[0], [])
        self.assertEqual(sum("every 30." in line or "every 29." in line for line in summary), 4, summary)

    def test_missing_heartbeat(self):
        self.rows.remove(requests(self.rows, HEART_BEAT)[1])
        self.assert_fact("broker, start: missing HEART_BEAT")

    def test_additional_heartbeat(self):
        again = copy.deepcopy(requests(self.rows, HEART_BEAT)[1])
        again["opaque"] += 100000
        self.rows.insert(self.rows.index(requests(self.rows, HEART_BEAT)[2]), again)
        self.assert_fact("broker, start: more HEART_BEAT")

    def test_another_order(self):
        one, other = requests(self.rows, UNREGISTER)
        one["ext"], other["ext"] = other["ext"], one["ext"]
        self.assert_fact("broker, shutdown: more UNREGISTER_CLIENT")

    def test_another_period(self):
        for number, row in enumerate(requests(self.rows, HEART_BEAT)):
            self.shift(row, -4.0 * number)
        self.assert_fact(r"HEART_BEAT every 30.0 s -> every 26.0 s")

    def test_a_period_within_the_tolerance(self):
        for number, row in enumerate(requests(self.rows, HEART_BEAT)):
            self.shift(row, -1.0 * number)
        self.assertEqual(facts(self.rows), [])

    def test_first_run_too_early(self):
        self.shift(requests(self.rows, HEART_BEAT)[0], -0.5)
        self.assert_fact("first HEART_BEAT earlier than the 1.0 s")

    def test_another_order_of_first_runs(self):
        self.shift(requests(self.rows, ROUTE)[0], 2.0)
        self.assert_fact("order of first runs")

    def test_unknown_ext_field(self):
        requests(self.rows, SEND)[0]["ext"]["n"] = "broker-a"
        self.assert_fact(r"SEND_MESSAGE_V2\(Conformance\) ext.n: absent -> broker-a")

    def test_missing_ext_field(self):
        del requests(self.rows, SEND)[0]["ext"]["k"]
        self.assert_fact("ext.k: false -> absent")

    def test_another_value(self):
        requests(self.rows, SEND)[0]["ext"]["j"] = "1"
        self.assert_fact("ext.j: 0 -> 1")

    def test_another_property(self):
        row = requests(self.rows, SEND)[0]
        row["ext"]["i"] = row["ext"]["i"].replace("TagA", "TagB")
        self.assert_fact("property.TAGS: TagA -> TagB")

    def test_another_key_form(self):
        row = requests(self.rows, SEND)[0]
        row["ext"]["i"] = row["ext"]["i"].replace("UNIQ_KEY\x01", "UNIQ_KEY\x01x")
        self.assert_fact("property.UNIQ_KEY: <an id> -> x")

    def test_a_born_timestamp_of_the_past(self):
        row = requests(self.rows, SEND)[0]
        row["ext"]["g"] = str(int(row["ext"]["g"]) - 60000)
        self.assert_fact("ext.g: <now> -> ")

    def test_a_queue_that_does_not_exist(self):
        requests(self.rows, SEND)[0]["ext"]["e"] = "4"
        self.assert_fact("ext.e: <a queue> -> 4")

    def test_another_group_in_the_heartbeat(self):
        row = requests(self.rows, HEART_BEAT)[2]
        row["body"] = row["body"].replace('{"groupName":"conformance"}', '{"groupName":"stranger"}')
        self.assert_fact(r"HEART_BEAT body.producerDataSet\[groupName stranger\]: absent -> present")

    def test_the_order_of_groups_means_nothing(self):
        row = requests(self.rows, HEART_BEAT)[0]
        row["body"] = row["body"].replace('[{"groupName":"CLIENT_INNER_PRODUCER"},{"groupName":"conformance"}]',
                                          '[{"groupName":"conformance"},{"groupName":"CLIENT_INNER_PRODUCER"}]')
        self.assertEqual(facts(self.rows), [])

    def test_another_client_id_when_unregistering(self):
        requests(self.rows, UNREGISTER)[0]["ext"]["clientID"] = "192.0.2.2@1#1"
        self.assert_fact("UNREGISTER_CLIENT.* ext.clientID: <client id> -> 192.0.2.2@1#1")

    def test_another_body(self):
        requests(self.rows, SEND)[2]["body"] = "body 7"
        self.assert_fact("body: body 2 -> body 7")

    def test_another_flag(self):
        requests(self.rows, SEND)[3]["flag"] = 0
        self.assert_fact("flag: 2 -> 0")

    def test_another_answer(self):
        opaque = requests(self.rows, SEND)[0]["opaque"]
        next(r for r in self.rows if r["event"] == "answer" and r["opaque"] == opaque)["code"] = 1
        self.assert_fact("answer: 0 -> 1")

    def test_an_opaque_twice(self):
        first = requests(self.rows, SEND)[0]
        again = copy.deepcopy(first)
        self.rows.insert(self.rows.index(first), again)
        self.assert_fact("strays")

    def test_another_connection(self):
        self.rows.append({**self.rows[0], "connection": 9})
        self.assert_fact("connections: ")

    def test_another_end(self):
        next(r for r in self.rows if r["event"] == "close")["why"] = "reset"
        self.assert_fact("end: fin of the client -> reset of the client")


class ListTest(unittest.TestCase):
    LISTED = [{"id": "one", "fact": "a more .*"}]

    def test_a_listed_fact_passes(self):
        self.assertEqual(compare.judge(["a more b"], self.LISTED)[0], [])

    def test_an_unlisted_fact_fails(self):
        self.assertIn("not listed", compare.judge(["a more b", "c"], self.LISTED)[0][0])

    def test_a_pattern_must_match_the_whole_fact(self):
        self.assertIn("not listed: so a more b", compare.judge(["so a more b", "a more b"], self.LISTED)[0])

    def test_a_stale_entry_fails(self):
        self.assertIn("does not occur", compare.judge([], self.LISTED)[0][0])

    def test_another_number_fails(self):
        self.assertIn("listed 1 times, occurs 2", compare.judge(["a more b"] * 2, [{**self.LISTED[0], "times": 1}])[0][0])

    def test_a_fact_with_two_reasons_fails(self):
        self.assertIn("more than once", compare.judge(["a more b"], self.LISTED + [{"id": "two", "fact": ".* b"}])[0][0])

    def test_every_entry_has_its_words(self):
        for entry in compare.load_differences():
            self.assertLessEqual({"id", "fact", "what", "reason"}, entry.keys())

    def test_the_table_in_architecture_is_the_list(self):
        page = (HERE.parents[1] / "ARCHITECTURE.md").read_text(encoding="utf-8")
        missing = [line for line in compare.table(compare.load_differences()).splitlines() if line not in page.splitlines()]
        self.assertEqual(missing, [], "tests/conformance/compare.py --table prints what belongs there")


if __name__ == "__main__":
    unittest.main()
