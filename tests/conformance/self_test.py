"""Shows that the comparison bites: the Java client's recorded trace is compared with itself, with one thing changed at a time.

recorded_java.trace was written by tests/real's check "conformance"; it never gets old, because 4.9.3 does not change."""

import copy
import json
import pathlib
import re
import socket
import struct
import sys
import tempfile
import threading
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import client_trace
import compare
from recorded_run import RecordingProxy
from remoting_frame import read_frame

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
        self.assertTrue(any(re.search(pattern, fact) for fact in found), f"no fact like {pattern!r} in {found}")
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
        self.assert_fact("broker, send: more UNREGISTER_CLIENT")

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


def frame(body=b"", **header):
    header = json.dumps({"language": "JAVA", "version": 399, "flag": 0, **header}).encode()
    return struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body


class Server:
    """A server on a port of its own that gives each connection one answer to its first request, and waits for its end."""

    def __init__(self, body=b""):
        self.body = body
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with self.listener, self.listener.accept()[0] as peer:
            stream = peer.makefile("rb")
            request = read_frame(stream)
            peer.sendall(frame(self.body, code=0, flag=1, opaque=request.opaque))
            stream.read()


class ProxyTest(unittest.TestCase):
    @staticmethod
    def ask(address, **header):
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), 10) as s:
            s.sendall(frame(b"question", flag=0, **header))
            return read_frame(s.makefile("rb"))

    def test_all_connections_lead_through_the_proxy_and_are_written_down(self):
        broker = Server()
        nameserver = Server(f'{{"brokerDatas":[{{"brokerAddrs":{{0:"{broker.address}"}},"brokerName":"broker-a"}}]}}'.encode())
        with tempfile.TemporaryDirectory() as folder:
            proxy = RecordingProxy(pathlib.Path(folder) / "client.trace", [nameserver.address])
            try:
                route = self.ask(proxy.namesrv, code=ROUTE, opaque=7, extFields={"topic": "T"})
                there = route.json_body()["brokerDatas"][0]["brokerAddrs"]["0"]
                self.assertNotEqual(there, broker.address)
                self.assertEqual(self.ask(there, code=HEART_BEAT, opaque=8).opaque, 8)
                nameserver.thread.join(10)
                broker.thread.join(10)
            finally:
                proxy.stop()
            trace = client_trace.build(client_trace.read_rows(proxy.trace), {"start": 0, "send": 1})
        self.assertEqual([(c.role, c.server, c.end) for c in trace.connections],
                         [("nameserver", nameserver.address, "fin of the client"), ("broker", broker.address, "fin of the client")])
        asked = trace.connections[0].requests[0]
        self.assertEqual((asked.frame["code"], asked.frame["ext"], asked.frame["body"], asked.answer["opaque"]), (ROUTE, {"topic": "T"}, "question", 7))


if __name__ == "__main__":
    unittest.main()
