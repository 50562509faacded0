#!/usr/bin/env python3
"""rmqhub-devbroker over its sockets. The oracle is recorded: requests that real clients sent, and what a real 4.9.3
broker answered (tests/frames). Then its faults, its control socket, long polling and expiry."""
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "real")]
from devbroker import DevBroker, parse_log  # noqa: E402
from remoting_frame import FRAMES, Frame  # noqa: E402

BIN = pathlib.Path(os.environ.get("RMQHUB_BIN_DIR", HERE.parent.parent / "build/dev/bin"))


def request(code, ext=None, body=b"", opaque=1, flag=0):
    header = json.dumps({"code": code, "flag": flag, "language": "CPP", "opaque": opaque, "version": 399,
                         "extFields": {k: str(v) for k, v in (ext or {}).items()}}).encode()
    return struct.pack(">iI", 4 + len(header) + len(body), len(header)) + header + body


def send_request(key, opaque=1, topic="T", body=b"hello", queue=0, properties="", flag=0, sys_flag=0):
    ext = {"a": "G", "b": topic, "c": "TBW102", "d": 4, "e": queue, "f": sys_flag, "g": 1700000000000, "h": 0,
           "i": f"UNIQ_KEY\x01{key}\x02WAIT\x01true{properties}", "j": 0, "k": "false", "m": "false"}
    return request(310, ext, body, opaque, flag)


def pull_request(offset, opaque=1, topic="T", queue=0, subscription="*", suspend_ms=0, maximum=32):
    return request(11, {"consumerGroup": "C", "topic": topic, "queueId": queue, "queueOffset": offset, "maxMsgNums": maximum,
                        "sysFlag": 6 if suspend_ms else 4, "commitOffset": 0, "suspendTimeoutMillis": suspend_ms,
                        "subscription": subscription, "subVersion": 0, "expressionType": "TAG"}, opaque=opaque)


def heartbeat(client_id, *producers):
    return request(34, body=json.dumps({"clientID": client_id, "consumerDataSet": [],
                                        "producerDataSet": [{"groupName": p} for p in producers]}).encode())


class Peer:
    """One connection."""

    def __init__(self, address):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), 5)

    def send(self, data):
        self.socket.sendall(data)

    def receive_bytes(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError(f"closed after {len(data)} of {count} bytes")
            data += part
        return data

    def receive(self):
        prefix = self.receive_bytes(4)
        return Frame(prefix + self.receive_bytes(struct.unpack(">i", prefix)[0]))

    def call(self, data):
        self.send(data)
        return self.receive()

    def silent_for(self, seconds):
        self.socket.settimeout(seconds)
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(5)

    def close(self):
        self.socket.close()


class DevBrokerTest(unittest.TestCase):
    """Each test has a devbroker of its own."""

    def start(self, *options):
        directory = tempfile.TemporaryDirectory(prefix="rmqhub-devbroker-")
        self.addCleanup(directory.cleanup)
        self.broker = DevBroker(BIN, pathlib.Path(directory.name), *options)
        self.broker.__enter__()
        self.addCleanup(self.broker.__exit__)
        self.address = f"127.0.0.1:{self.broker.broker_ports[0]}"

    def peer(self, address=None):
        peer = Peer(address or self.address)
        self.addCleanup(peer.close)
        return peer

    def stored_keys(self):
        return [s.uniq_key for s in self.broker.log().stored]

    def stats(self):
        return {k: int(v) for k, v in (line.split() for line in self.broker.command("stats"))}

    def assert_closed(self, peer):
        with self.assertRaises((EOFError, ConnectionResetError)):
            peer.receive()


class RecordedFrames(DevBrokerTest):
    """What a real broker answered is what this one answers, but for what depends on the place and the moment."""

    VARYING_EXT = {"msgId", "queueOffset", "timestamp"}

    def compare(self, peer, name):
        reply = peer.call((FRAMES / f"{name}_req.bin").read_bytes())
        recorded = Frame((FRAMES / f"{name}_resp.bin").read_bytes())
        with self.subTest(frame=name):
            for field in ("code", "flag", "opaque", "language", "version"):
                self.assertEqual(getattr(reply, field), getattr(recorded, field), field)
            self.assertEqual(set(reply.ext), set(recorded.ext))
            for key in set(reply.ext) - self.VARYING_EXT:
                self.assertEqual(reply.ext[key], recorded.ext[key], key)
            if recorded.remark and "RemotingCommandException" in recorded.remark:
                self.assertTrue(recorded.remark.startswith(reply.remark), reply.remark)
            elif recorded.remark:
                ports = re.compile(r"127\.0\.0\.1:\d+")
                self.assertEqual(ports.sub("PEER", reply.remark), ports.sub("PEER", recorded.remark))
            else:
                self.assertIsNone(reply.remark)
        return reply, recorded

    def test_broker_replies(self):
        self.start()
        peer = self.peer()
        for name in ("py_heartbeat", "py_send_v2_ok", "py_send_v2_autocreate", "py_send_v2_missing_topic", "py_send_v2_bad_queue",
                     "py_send_v2_missing_field", "py_send_v1_ok", "py_send_batch_ok", "py_send_v2_compressed",
                     "py_send_v2_binary_header", "py_min_offset", "py_earliest_store_time", "py_search_offset", "py_create_topic",
                     "py_unsupported_code", "py_update_offset", "java_send_v2", "java_send_v2_compressed", "java_send_batch",
                     "java_heartbeat_producer", "java_unregister_producer", "py_unregister_producer"):
            self.compare(peer, name)

    def test_a_consumer_is_told_of_itself(self):
        self.start()
        peer = self.peer()
        peer.send((FRAMES / "py_heartbeat_consumer_req.bin").read_bytes())
        answers = sorted((peer.receive(), peer.receive()), key=lambda f: f.flag)
        push = Frame((FRAMES / "py_push_notify_consumer_ids_changed.bin").read_bytes())
        self.assertEqual((answers[0].code, answers[0].flag), (0, 1))
        self.assertEqual((answers[1].code, answers[1].flag, answers[1].ext), (push.code, push.flag, push.ext))
        ids = peer.call(request(38, {"consumerGroup": "SpecPushGroup"}))
        self.assertEqual(ids.json_body(), {"consumerIdList": ["10.1.2.3@specPush"]})
        self.assertEqual(self.peer(self.broker.namesrv).call(request(105, {"topic": "%RETRY%SpecPushGroup"})).code, 0)
        self.compare(peer, "py_unregister_consumer")
        self.assertEqual(peer.call(request(38, {"consumerGroup": "SpecPushGroup"})).code, 1)

    def test_producer_connections(self):
        self.start()
        peer = self.peer()
        peer.call((FRAMES / "py_heartbeat_req.bin").read_bytes())
        reply, recorded = self.compare(peer, "py_producer_connections")
        mine, theirs = reply.json_body()["connectionSet"], recorded.json_body()["connectionSet"]
        mine[0]["clientAddr"] = theirs[0]["clientAddr"]
        self.assertEqual(mine, theirs)

    def test_nameserver_replies(self):
        self.start()
        peer, nameserver = self.peer(), self.peer(self.broker.namesrv)
        self.compare(nameserver, "py_route_missing")
        peer.call((FRAMES / "py_send_v2_ok_req.bin").read_bytes())
        for name in ("py_route_existing", "py_route_existing_default_topic", "py_route_binary_header", "py_cluster_info",
                     "java_route_tbw102"):
            reply, recorded = self.compare(nameserver, name)
            port = re.compile(rb"127\.0\.0\.1:\d+")
            self.assertEqual(port.sub(b"", reply.body), port.sub(b"", recorded.body))

    def test_an_unknown_code_gets_no_answer_from_the_nameserver(self):
        self.start()
        nameserver = self.peer(self.broker.namesrv)
        nameserver.send((FRAMES / "py_unsupported_code_namesrv_req.bin").read_bytes())
        self.assertTrue(nameserver.silent_for(0.2))
        self.assertEqual(nameserver.call(request(105, {"topic": "TBW102"})).code, 0)

    def test_a_stored_record_equals_the_recorded_one(self):
        self.start()
        peer = self.peer()
        sent = peer.call((FRAMES / "py_send_v2_binary_header_req.bin").read_bytes())
        mine = peer.call(request(33, {"offset": int(sent.ext["msgId"][16:], 16)})).body
        theirs = Frame((FRAMES / "py_view_message_resp.bin").read_bytes()).body
        self.assertEqual(len(mine), len(theirs))
        # Without offsets, store time, ports of both hosts, and the order of the properties.
        fixed = [(0, 20), (36, 52), (64, 68), (72, 110)]
        for start, end in fixed:
            self.assertEqual(mine[start:end].hex(), theirs[start:end].hex(), (start, end))
        self.assertEqual(set(mine[110:].split(b"\x02")), set(theirs[110:].split(b"\x02")))


class Sending(DevBrokerTest):
    def test_oneway_gets_no_reply(self):
        self.start()
        peer = self.peer()
        peer.send(send_request("ONE", flag=2))
        self.assertEqual(peer.call(send_request("TWO", opaque=9)).opaque, 9)
        self.assertEqual(self.stored_keys(), ["ONE", "TWO"])

    def test_refusals(self):
        self.start("--max-message-bytes", "1000")
        peer = self.peer()
        self.assertEqual(peer.call(send_request("K", body=b"x" * 1000)).code, 13)
        self.assertEqual(peer.call(send_request("K", topic="bad topic")).code, 1)
        self.assertEqual(peer.call(send_request("K", topic="x" * 128)).code, 1)
        self.assertEqual(peer.call(send_request("K", topic="SCHEDULE_TOPIC_XXXX")).code, 16)
        self.assertEqual(peer.call(send_request("K", sys_flag=4)).code, 16)
        self.assertEqual(self.stored_keys(), [])

    def test_no_auto_create(self):
        self.start("--no-auto-create")
        peer = self.peer()
        self.assertEqual(peer.call(send_request("K")).code, 17)
        self.assertEqual(self.peer(self.broker.namesrv).call(request(105, {"topic": "TBW102"})).code, 17)
        self.broker.command("topic T 2")
        self.assertEqual(peer.call(send_request("K")).code, 0)

    def test_brokers_have_topics_and_queues_of_their_own(self):
        self.start("--brokers", "3", "--queues", "2", "--cluster", "Test")
        second = self.peer(f"127.0.0.1:{self.broker.broker_ports[1]}")
        self.assertEqual(second.call(send_request("K", queue=-1)).code, 0)
        route = self.peer(self.broker.namesrv).call(request(105, {"topic": "T"})).json_body()
        self.assertEqual([(q["brokerName"], q["writeQueueNums"], q["perm"]) for q in route["queueDatas"]], [("broker-b", 2, 6)])
        self.assertEqual(route["brokerDatas"][0]["cluster"], "Test")
        everywhere = self.peer(self.broker.namesrv).call(request(105, {"topic": "TBW102"})).json_body()
        self.assertEqual(len(everywhere["brokerDatas"]), 3)
        self.assertEqual([s.broker for s in self.broker.log().stored], ["broker-b"])

    def test_delayed_messages_come_later(self):
        self.start()
        peer = self.peer()
        self.assertEqual(peer.call(send_request("K", properties="\x02DELAY\x011")).code, 0)
        self.assertEqual(peer.call(pull_request(0)).code, 19)
        reply = peer.call(pull_request(0, suspend_ms=5000))
        self.assertEqual((reply.code, reply.ext["nextBeginOffset"]), (0, "1"))
        self.assertIn(b"REAL_TOPIC\x01T", reply.body)

    def test_nothing_is_kept_with_discard(self):
        self.start("--discard")
        peer = self.peer()
        self.assertEqual([peer.call(send_request(f"K{i}")).ext["queueOffset"] for i in range(3)], ["0", "1", "2"])
        self.assertEqual(peer.call(pull_request(0)).code, 21)
        self.assertEqual(self.stored_keys(), ["K0", "K1", "K2"])

    def test_bad_frames_close_the_connection(self):
        self.start()
        for bad in (struct.pack(">i", 0x7FFFFFFF), struct.pack(">i", -1), struct.pack(">iI", 8, 0x00FFFFFF) + b"xxxx",
                    struct.pack(">iI", 6, 2) + b"{]", b"GET / HTTP/1.1\r\n\r\n"):
            peer = self.peer()
            peer.send(bad)
            self.assert_closed(peer)
        self.assertEqual(self.peer().call(send_request("K")).code, 0)

    def test_one_byte_at_a_time(self):
        self.start()
        peer = self.peer()
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in send_request("K"):
            peer.send(bytes([byte]))
        self.assertEqual(peer.receive().code, 0)


class Reading(DevBrokerTest):
    def test_a_held_pull_is_answered_by_the_next_message(self):
        self.start()
        reader, sender = self.peer(), self.peer()
        sender.call(send_request("K0"))
        reader.send(pull_request(1, opaque=77, suspend_ms=10000))
        self.assertTrue(reader.silent_for(0.1))
        sender.call(send_request("K1", body=b"second"))
        reply = reader.receive()
        self.assertEqual((reply.code, reply.opaque, reply.ext["nextBeginOffset"]), (0, 77, "2"))
        self.assertIn(b"second", reply.body)

    def test_a_held_pull_ends_with_its_time_or_with_other_messages(self):
        self.start("--sweep-ms", "20")
        reader, sender = self.peer(), self.peer()
        sender.call(send_request("K0"))
        began = time.monotonic()
        self.assertEqual(reader.call(pull_request(1, suspend_ms=100)).code, 19)
        self.assertGreaterEqual(time.monotonic() - began, 0.09)
        reader.send(pull_request(1, subscription="TagB", suspend_ms=10000))
        sender.call(send_request("K1", properties="\x02TAGS\x01TagA"))
        reply = reader.receive()
        self.assertEqual((reply.code, reply.ext["nextBeginOffset"]), (20, "2"))

    def test_tags_are_filtered(self):
        self.start()
        peer = self.peer()
        for i, tag in enumerate(("TagA", "TagB", "TagC", "TagA")):
            peer.call(send_request(f"K{i}", properties=f"\x02TAGS\x01{tag}"))
        reply = peer.call(pull_request(0, subscription="TagA || TagC"))
        self.assertEqual(re.findall(rb"K\d", reply.body), [b"K0", b"K2", b"K3"])

    def test_a_pull_is_bounded(self):
        self.start()
        peer = self.peer()
        for i in range(40):
            peer.call(send_request(f"K{i}", body=b"x" * 20000))
        self.assertEqual(peer.call(pull_request(0)).ext["nextBeginOffset"], "13")  # 256 KiB
        self.assertEqual(peer.call(pull_request(0, maximum=5)).ext["nextBeginOffset"], "5")

    def test_offsets_out_of_range(self):
        self.start()
        peer = self.peer()
        peer.call(send_request("K"))
        reply = peer.call(pull_request(1000))
        self.assertEqual((reply.code, reply.remark, reply.ext["nextBeginOffset"]), (21, "OFFSET_OVERFLOW_BADLY", "0"))
        self.assertEqual(peer.call(pull_request(7, queue=3)).remark, "NO_MESSAGE_IN_QUEUE")
        self.assertEqual(peer.call(pull_request(0, queue=99)).code, 1)

    def test_consumer_offsets(self):
        self.start()
        peer = self.peer()
        where = {"consumerGroup": "C", "topic": "T", "queueId": 1}
        self.assertEqual(peer.call(request(14, where)).ext, {"offset": "0"})
        peer.call(request(15, {**where, "commitOffset": 5}))
        peer.call(request(15, {**where, "commitOffset": 3}))
        self.assertEqual(peer.call(request(14, where)).ext, {"offset": "3"})

    def test_queue_locks_belong_to_client_ids(self):
        self.start()
        peer = self.peer()

        def lock(code, client_id, *queues):
            body = {"clientId": client_id, "consumerGroup": "C",
                    "mqSet": [{"brokerName": "broker-a", "queueId": q, "topic": "T"} for q in queues]}
            reply = peer.call(request(code, body=json.dumps(body).encode()))
            return [q["queueId"] for q in reply.json_body()["lockOKMQSet"]] if reply.body else None
        self.assertEqual(lock(41, "one", 0, 1), [0, 1])
        self.assertEqual(lock(41, "two", 1, 2), [2])
        lock(42, "one", 1)
        self.assertEqual(lock(41, "two", 0, 1, 2), [1, 2])


class Faults(DevBrokerTest):
    """One rule each: what the client sees, and what the log says was stored."""

    def setUp(self):
        self.start()
        self.client = self.peer()
        self.client.call(send_request("BEFORE"))

    def fault(self, rule):
        self.broker.command(f"fault {rule}")

    def assert_stored(self, *keys):
        self.assertEqual(self.stored_keys(), ["BEFORE", *keys])

    def test_error(self):
        self.fault("send error=2 after=1 times=1")
        self.assertEqual([self.client.call(send_request(k)).code for k in "ABC"], [0, 2, 0])
        self.assert_stored("A", "C")

    def test_status(self):
        self.fault("send status=12")
        reply = self.client.call(send_request("A"))
        self.assertEqual((reply.code, "msgId" in reply.ext), (12, True))
        self.assert_stored("A")

    def test_no_reply(self):
        self.fault("send no-reply times=1")
        self.client.send(send_request("A"))
        self.assertTrue(self.client.silent_for(0.1))
        self.assert_stored()

    def test_store_no_reply(self):
        self.fault("send store-no-reply times=1")
        self.client.send(send_request("A"))
        self.assertTrue(self.client.silent_for(0.1))
        self.assert_stored("A")

    def test_store_refuse(self):
        self.fault("send store-refuse=14")
        self.client.send(send_request("A"))
        self.assertTrue(self.client.silent_for(0.1))
        self.assertEqual(self.client.call(send_request("A")).code, 14)
        self.assert_stored("A")

    def test_delay_stores_later_and_late_answers_later(self):
        self.fault("send delay=150 times=1")
        self.client.send(send_request("A"))
        self.assertTrue(self.client.silent_for(0.05))
        self.assert_stored()
        self.assertEqual(self.client.receive().code, 0)
        self.assert_stored("A")
        self.fault("send late=150 times=1")
        self.client.send(send_request("B"))
        self.assertTrue(self.client.silent_for(0.05))
        self.assert_stored("A", "B")
        self.assertEqual(self.client.receive().code, 0)

    def test_duplicate(self):
        self.fault("send duplicate")
        self.client.send(send_request("A", opaque=5))
        self.assertEqual([self.client.receive().opaque, self.client.receive().opaque], [5, 5])
        self.assert_stored("A")

    def test_wrong_opaque(self):
        self.fault("send wrong-opaque")
        self.assertNotEqual(self.client.call(send_request("A", opaque=5)).opaque, 5)

    def test_garbage_and_raw(self):
        self.fault("send garbage=32 times=1")
        self.client.send(send_request("A"))
        self.assertLess(struct.unpack(">i", self.client.receive_bytes(32)[:4])[0], 0)
        self.fault("send raw=00000003 times=1")
        self.client.send(send_request("B"))
        self.assertEqual(self.client.receive_bytes(4), b"\0\0\0\3")
        self.assert_stored("A", "B")

    def test_cut(self):
        self.fault("send cut=20")
        self.client.send(send_request("A"))
        self.assertEqual(len(self.client.receive_bytes(20)), 20)
        self.assert_closed(self.client)
        self.assert_stored("A")

    def test_close(self):
        self.fault("send close")
        self.client.send(send_request("A"))
        self.assertEqual(self.client.socket.recv(1), b"")  # a FIN, not a RST
        self.assert_stored()

    def test_store_close_delivers_earlier_replies(self):
        self.fault("send store-close after=1")
        self.client.send(send_request("A", opaque=1) + send_request("B", opaque=2) + send_request("C", opaque=3))
        self.assertEqual(self.client.receive().opaque, 1)
        self.assertEqual(self.client.socket.recv(1), b"")
        self.assert_stored("A", "B")

    def test_rst(self):
        for rule, stored in (("rst", []), ("store-rst", ["B"])):
            self.fault(f"send {rule} times=1")
            client = self.peer()
            client.send(send_request("B"))
            with self.assertRaises(ConnectionResetError):
                client.receive()
            self.assert_stored(*stored)

    def test_stop_reading(self):
        self.fault("send stop-reading=200 times=1")
        self.client.send(send_request("A", opaque=1) + send_request("B", opaque=2))
        self.assertTrue(self.client.silent_for(0.1))
        self.assertEqual(self.client.receive().opaque, 2)
        self.assert_stored("B")

    def test_route_faults(self):
        self.fault("route error=1 broker=nameserver times=1")
        nameserver = self.peer(self.broker.namesrv)
        self.assertEqual([nameserver.call(request(105, {"topic": "TBW102"})).code for _ in range(2)], [1, 0])

    def test_a_broker_may_be_left_out_of_routes(self):
        self.start("--brokers", "40")
        nameserver = self.peer(self.broker.namesrv)
        self.assertEqual(len(self.broker.broker_ports), 40)
        for command, there in (("route off broker-b", False), ("route on broker-b", True)):
            self.broker.command(command)
            body = nameserver.call(request(105, {"topic": "TBW102"})).body
            self.assertIn(b'"broker-39"', body)
            self.assertEqual(b'"broker-b"' in body, there)

    def test_rules_are_listed_counted_and_cleared(self):
        self.fault("send error=2 times=1")
        self.client.call(send_request("A"))
        self.client.call(send_request("B"))
        self.assertEqual(self.broker.command("faults"), ["1\tseen=2\tapplied=1\tsend error=2 times=1"])
        self.broker.command("fault clear")
        self.assertEqual(self.broker.command("faults"), [])

    def test_chance_is_seeded(self):
        self.fault("send error=2 p=0.3")

        def codes():
            self.broker.command("seed 11")
            return [self.client.call(send_request("K")).code for _ in range(100)]
        first = codes()
        self.assertEqual(codes(), first)
        self.assertIn(first.count(2), range(15, 50))


class Connections(DevBrokerTest):
    def test_events_and_counters(self):
        self.start()
        peer = self.peer()
        peer.call(heartbeat("me@1", "G", "CLIENT_INNER_PRODUCER"))
        peer.call(heartbeat("me@1", "G", "CLIENT_INNER_PRODUCER"))
        listed = self.broker.command("connections")
        self.assertTrue(any(line.startswith("producer\t1\tbroker-a\tG\tme@1\treplies_to=1") for line in listed), listed)
        peer.call(request(35, {"clientID": "me@1", "producerGroup": "G"}))
        listed = self.broker.command("connections")
        self.assertTrue(any("CLIENT_INNER_PRODUCER\tme@1\treplies_to=0" in line for line in listed), listed)
        peer.close()
        time.sleep(0.05)
        stats = self.stats()
        self.assertEqual((stats["broker-a.connections_ever"], stats["broker-a.connections_open"]), (1, 0))
        self.assertEqual(stats["broker-a.producer_registrations_ever"], 2)
        self.assertEqual(stats["broker-a.requests.34"], 2)
        kinds = [e.kind for e in self.broker.log().events]
        self.assertEqual(kinds, ["accept", "register", "register", "heartbeat", "heartbeat", "unregister", "close"])

    def test_a_registration_that_is_not_refreshed_closes_its_connection(self):
        self.start("--channel-expiry-ms", "150", "--scan-ms", "20")
        peer = self.peer()
        peer.call(heartbeat("me@1", "G"))
        time.sleep(0.01)
        peer.call(heartbeat("me@1", "H"))
        for _ in range(20):  # G is left out from now on
            try:
                peer.call(heartbeat("me@1", "H"))
            except (EOFError, ConnectionResetError):
                break
            time.sleep(0.02)
        else:
            self.fail("the connection is still open")
        self.assertIn("expire", [e.kind for e in self.broker.log().events])

    def test_an_idle_connection_is_closed(self):
        self.start("--idle-ms", "1000", "--scan-ms", "10")
        idle, busy = self.peer(), self.peer(self.broker.namesrv)
        for _ in range(24):  # a pause of ours must stay far below the limit, on a loaded machine, too
            busy.call(request(105, {"topic": "TBW102"}))
            time.sleep(0.05)
        self.assert_closed(idle)
        self.assertEqual(busy.call(request(105, {"topic": "TBW102"})).code, 0)

    def test_a_bad_heartbeat_is_refused_and_registers_nothing(self):
        self.start()
        peer = self.peer()
        for body in (b"", b"[]", b"{", b'{"clientID":"x","producerDataSet":null}', b'{"clientID":"x","producerDataSet":[{"groupName":"G"},1]}'):
            self.assertEqual(peer.call(request(34, body=body)).code, 1)
        self.assertEqual(self.stats()["broker-a.producer_registrations_ever"], 0)
        self.assertEqual(peer.call(request(34, body=b'{"clientID":"x"}')).code, 0)

    def test_ports_can_refuse_and_drop(self):
        self.start()
        peer = self.peer()
        self.broker.command("listen off broker-a")
        with self.assertRaises(ConnectionRefusedError):
            Peer(self.address)
        self.assertEqual(peer.call(send_request("K")).code, 0)
        self.broker.command("disconnect broker-a")
        self.assert_closed(peer)
        self.broker.command("listen on broker-a")
        peer = self.peer()
        self.broker.command("disconnect all rst")
        with self.assertRaises(ConnectionResetError):
            peer.receive()

    def test_control_refuses_what_it_does_not_know(self):
        self.start()
        for line in ("", "explode", "fault send explode", "log", "log /nonexistent/x", "listen off nowhere", "disconnect nowhere", "topic"):
            with self.assertRaisesRegex(Exception, "error"):
                self.broker.command(line)

    def test_reset_and_quit(self):
        self.start()
        self.peer().call(send_request("K"))
        self.broker.command("reset")
        self.assertEqual(self.stored_keys(), [])
        self.assertEqual(self.peer().call(send_request("L")).ext["queueOffset"], "1")
        self.broker.command("quit")
        self.assertEqual(self.broker.process.wait(5), 0)
        self.assertFalse(self.broker.control.exists())

    def test_bad_options(self):
        for option in (["--port", "x"], ["--brokers", "0"], ["--fault", "send explode"], ["--nonsense"], ["word"]):
            done = subprocess.run([BIN / "rmqhub-devbroker", *option], capture_output=True, timeout=5, check=False)
            self.assertEqual(done.returncode, 2, option)
            self.assertTrue(done.stderr)

    def test_raw_sender(self):
        self.start()
        for header in ("json", "binary"):
            done = subprocess.run([BIN / "rmqhub-raw-sender", "--broker", self.address, "--count", "3000", "--header", header, "--json"],
                                  capture_output=True, timeout=30, check=True)
            self.assertGreater(json.loads(done.stdout)["rate"], 0)
        stored = self.broker.log().stored
        self.assertEqual(len(stored), 6000)
        self.assertEqual(len({s.uniq_key for s in stored}), 3000)


class LogText(unittest.TestCase):
    def test_parse(self):
        log = parse_log("#x\nstored\t5\t1\tKEY\tT\tbroker-a\t2\t3\t4\t6\naccept\t4\t1\tat=broker-a peer=x\n")
        self.assertEqual((log.stored[0].uniq_key, log.stored[0].crc, log.events[0].kind), ("KEY", 6, "accept"))



if __name__ == "__main__":
    unittest.main()
