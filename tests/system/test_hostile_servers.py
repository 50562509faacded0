#!/usr/bin/env python3
"""Nameservers and brokers that answer nonsense: their connection is closed or their answer ignored, with a reason that an operator
can read; the last good route stays, nothing grows, and whoever uses other servers does not notice."""

import json
import os
import re
import socket
import struct
import threading
import time

from system_test import BIN, OK, SystemTest, main, tail, wait_until

# pylint: disable=wrong-import-order
from remoting_frame import GET_ROUTEINFO_BY_TOPIC, HEART_BEAT, SEND_MESSAGE_V2, Frame

RSS_GROWTH_KIB = 1024  # beside what one large answer of theirs takes
JSON, BINARY = 0, 1


def frame(header, body=b"", kind=JSON):
    return struct.pack(">iI", 4 + len(header) + len(body), kind << 24 | len(header)) + header + body


def header_of(request, code=0, **more):
    return {"code": code, "flag": 1, "language": "JAVA", "opaque": request.opaque, "version": 399, "serializeTypeCurrentRPC": "JSON", **more}


def reply(request, body=b"", code=0, **more):
    return frame(json.dumps(header_of(request, code, **more)).encode(), body)


def broker_data(name, address):
    return f'{{"brokerAddrs":{{0:"{address}"}},"brokerName":"{name}","cluster":"C"}}'


def queue_data(name, queues=1):
    return f'{{"brokerName":"{name}","perm":6,"readQueueNums":{queues},"topicSysFlag":0,"writeQueueNums":{queues}}}'


def route(brokers, queues):
    return f'{{"brokerDatas":[{",".join(brokers)}],"filterServerTable":{{}},"queueDatas":[{",".join(queues)}]}}'.encode()


def honest_route(name, address):
    return route([broker_data(name, address)], [queue_data(name)])


class Server:
    """Speaks remoting on a free port. answer(request) gives an honest reply; misbehave(connection, request) replaces it for
    requests of `code`, and returns whether the connection goes on."""

    def __init__(self, answer):
        self.answer, self.code, self.misbehave = answer, None, None
        self.misbehaved = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, connection.makefile("rb") as stream:
            try:
                while True:
                    prefix = stream.read(4)
                    if len(prefix) < 4:
                        return
                    request = Frame(prefix + stream.read(struct.unpack(">i", prefix)[0]))
                    misbehave = self.misbehave
                    if misbehave and request.code == self.code:
                        self.misbehaved += 1
                        if not misbehave(connection, request):
                            return
                    else:
                        connection.sendall(self.answer(request))
            except OSError:
                return

    def drop_connections(self):
        for connection in self.connections:
            shut(connection)
        self.connections.clear()

    def close(self):
        shut(self.listener)
        self.drop_connections()


def shut(s):
    """shutdown() ends the accept() or the read of another thread, which close() alone does not."""
    try:
        s.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    s.close()


def says(data_of, goes_on=True):
    """Sends data_of(request)."""
    def misbehave(connection, request):
        connection.sendall(data_of(request))
        return goes_on
    return misbehave


def in_slices(honest):
    def misbehave(connection, request):
        for byte in honest(request):
            connection.sendall(bytes([byte]))
        return True
    return misbehave


def binary_header(request, ext):
    """A binary header whose ext fields are those bytes, under an honest length."""
    return struct.pack(">hBhiii", 0, 0, 399, request.opaque, 1, 0) + ext


DEEP = b"[" * 100000

# What the hub must do with the connection: close it, saying why.
CLOSING = {
    "random bytes": (lambda r: bytes(range(255, 127, -1)), "not a remoting frame|frame over the limit"),
    "HTTP": (lambda r: b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "not a remoting frame|frame over the limit"),
    "a negative length": (lambda r: struct.pack(">iI", -5, 0), "not a remoting frame"),
    "a length of 0": (lambda r: struct.pack(">iI", 0, 0), "not a remoting frame"),
    "a length of 2 GiB": (lambda r: struct.pack(">iI", 0x7FFFFFFF, 100) + b"{", "frame over the limit|not a remoting frame"),
    "a length of 17 MiB": (lambda r: struct.pack(">iI", 17 << 20, 100) + b"{", "frame over the limit|not a remoting frame"),
    "a header longer than its frame": (lambda r: struct.pack(">iI", 20, 5000) + b"x" * 16, "not a remoting frame|undecodable frame"),
    "an unknown header type": (lambda r: frame(b"{}", kind=9), "not a remoting frame|undecodable frame"),
    "a header that is no JSON": (lambda r: frame(b"}{" * 20), "undecodable frame"),
    "a header as deep as it is long": (lambda r: frame(DEEP), "undecodable frame"),
    "a binary header with a negative ext length": (lambda r: frame(binary_header(r, struct.pack(">i", -1)), kind=BINARY), "undecodable frame"),
    "a binary header with a long key in a short one": (lambda r: frame(binary_header(r, struct.pack(">ih", 2, 30000)), kind=BINARY),
                                                       "undecodable frame"),
    "a part of a frame, then the end": (None, "closed by the peer"),
}

# Route bodies to be ignored, and the counter that says so.
ROUTES = {
    "no JSON": (b"<html></html>", "unreadable"),
    "nothing": (b"", "unreadable"),
    "a part": (honest_route("a", "127.0.0.1:1")[:50], "unreadable"),
    "depth": (b'{"brokerDatas":' + DEEP, "unreadable"),
    "a list twice": (route([broker_data("a", "127.0.0.1:1")], [queue_data("a")])[:-1] + b',"queueDatas":[' + queue_data("a").encode() + b"]}",
                     "unreadable"),
    "a negative number of queues": (route([broker_data("a", "127.0.0.1:1")], [queue_data("a", -4)]), "unreadable"),
    "two thousand million queues": (route([broker_data("a", "127.0.0.1:1")], [queue_data("a", 2000000000)]), "unreadable"),
    "fifty thousand queues": (route([broker_data("a", "127.0.0.1:1")], [queue_data("a", 50000)]), "too_many_queues"),
    "a thousand brokers": (route([broker_data(f"b{i}", "127.0.0.1:1") for i in range(1000)], [queue_data("b1")]), "unreadable"),
    "an empty object": (b"{}", "empty"),
    "no brokers": (route([], [queue_data("a")]), "empty"),
    "no queues": (route([broker_data("a", "127.0.0.1:1")], []), "empty"),
    "one broker twice": (route([broker_data("a", "127.0.0.1:1"), broker_data("a", "127.0.0.1:2")], [queue_data("a")]), "duplicate"),
    "one broker's queues twice": (route([broker_data("a", "127.0.0.1:1")], [queue_data("a"), queue_data("a", 2)]), "duplicate"),
    "one id twice": (b'{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:1",0:"127.0.0.1:2"},"brokerName":"a"}],"queueDatas":[' +
                     queue_data("a").encode() + b"]}", "duplicate"),
    "an address without a port": (route([broker_data("a", "nowhere")], [queue_data("a")]), "bad_broker"),
    "a port beyond ports": (route([broker_data("a", "127.0.0.1:99999")], [queue_data("a")]), "bad_broker"),
    "a name of a thousand bytes": (route([broker_data("a" * 1000, "127.0.0.1:1")], [queue_data("a" * 1000)]), "bad_broker"),
}


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return int(re.search(r"^VmRSS:\s+(\d+)", status.read(), re.M).group(1))


def is_instrumented():
    """Sanitizers keep what is freed."""
    with open(BIN / "rmqhubd", "rb") as program:
        return b"__asan_init" in program.read() or os.environ.get("TSAN_OPTIONS") is not None


class HostileServers(SystemTest):
    def setUp(self):
        super().setUp()
        self.good = self.start_broker("--discard")
        self.over, self.bystander, self.seen = threading.Event(), None, []

    def serve(self, answer):
        server = Server(answer)
        self.addCleanup(server.close)
        return server

    def start(self, namesrv):
        """A hub with a healthy cluster, in which somebody sends all the time, and a cluster of bad servers."""
        conf = self.file("rmqhub.conf", f"[hub]\nlog_level = error\n[cluster good]\nnamesrv_addr = {self.good.namesrv}\n"
                         f"[cluster bad]\nnamesrv_addr = {namesrv}\npoll_name_server_interval_ms = 100\nmq_client_api_timeout_ms = 500\n")
        self.hub = self.start_hub("-c", conf, ready=False)
        wait_until((self.runtime_dir / "hub.sock").exists, 20, f"the hub:\n{tail(self.log)}")
        self.bystander = threading.Thread(target=self.stand_by)
        self.bystander.start()
        self.addCleanup(self.bystander.join)
        self.addCleanup(self.over.set)

    def stand_by(self):
        while not self.over.is_set():
            self.seen.append(self.rmqhub("send", "--cluster", "good", "--group", "g", "--topic", "T", "--body", "x", "--count", "50", "--rate", "100",
                                         "--json"))

    def send(self, topic, timeout_ms=3000):
        return self.rmqhub("send", "--cluster", "bad", "--group", "b", "--topic", topic, "--body", "x", "--timeout", str(timeout_ms))

    def items(self, verb):
        result = self.rmqhub(verb, "--json")
        self.assertEqual(result.returncode, OK, result.stderr)
        return json.loads(result.stdout)["items"]

    def counter(self, name):
        return next((int(item["value"]) for item in self.items("stats") if item["name"] == name), 0)

    def connection(self, server):
        return next((row for row in self.items("connections") if row["peer_address"] == server.address), None)

    def assert_nobody_else_noticed(self, rss_before):
        self.assertIsNone(self.hub.poll(), tail(self.log))
        if not is_instrumented():
            self.assertLessEqual(rss_kib(self.hub.pid), rss_before + RSS_GROWTH_KIB)
        self.over.set()
        self.bystander.join()
        self.assertGreater(len(self.seen), 2)
        for result in self.seen:
            self.assertEqual(result.returncode, OK, result.stdout)  # every message was stored

    # ---- nameservers ----

    def start_bad_nameserver(self):
        """Its honest answer names the healthy broker; topic Kept has been sent to."""
        broker = f"127.0.0.1:{self.good.broker_ports[0]}"
        server = self.serve(lambda request: reply(request, honest_route("broker-a", broker)))
        server.code = GET_ROUTEINFO_BY_TOPIC
        self.start(server.address)
        self.assertEqual(self.send("Kept").returncode, OK)
        return server

    def see_closed(self, server, reason):
        """The connection ended for that reason, since now and again."""
        before = server.misbehaved
        wait_until(lambda: server.misbehaved > before, 5, "the server to be asked")

        def told():
            row = self.connection(server)
            return row and re.search(reason, row["last_error"])
        wait_until(told, 5, f"'{reason}', not '{(self.connection(server) or {}).get('last_error')}'")

    def test_frames_of_a_nameserver(self):
        server = self.start_bad_nameserver()
        rss = rss_kib(self.hub.pid)
        for name, (data_of, reason) in CLOSING.items():
            with self.subTest(name):
                server.misbehave = says(data_of) if data_of else says(lambda r: reply(r)[:10], goes_on=False)
                self.see_closed(server, reason)
        server.misbehave = says(lambda r: reply(r)[:10])  # and nothing more
        self.assertEqual(self.send("Kept").returncode, OK)
        for name, data_of in (("another opaque", lambda r: reply(r, opaque=r.opaque + 7777)),
                              ("a thousand replies that nobody asked for", lambda r: b"".join(reply(r, opaque=-i) for i in range(1000)))):
            with self.subTest(name):
                before = self.counter("replies_late_or_unknown")
                server.misbehave = says(data_of)
                wait_until(lambda b=before: self.counter("replies_late_or_unknown") > b, 5, "the reply to be counted")
        self.assertEqual(self.send("Kept").returncode, OK)  # the route is still the last good one
        server.misbehave = in_slices(server.answer)
        wait_until(lambda: self.send("New", 1000).returncode == OK, 10, "a route that comes byte by byte")
        server.misbehave = None
        wait_until(lambda: self.send("Newer", 1000).returncode == OK, 10, "the nameserver to be believed again")
        self.assert_nobody_else_noticed(rss)

    def test_routes_of_a_nameserver(self):
        server = self.start_bad_nameserver()
        rss = rss_kib(self.hub.pid)
        for name, (body, why) in ROUTES.items():
            with self.subTest(name):
                before = self.counter(f"routes_refused_{why}")
                server.misbehave = says(lambda r, b=body: reply(r, b))
                wait_until(lambda b=before, w=why: self.counter(f"routes_refused_{w}") > b, 5, f"routes_refused_{why} to grow")
        kept = next(row for row in self.items("routes") if row["topic"] == "Kept")
        self.assertEqual((kept["state"], kept["source"]), ("ok", "nameserver"))
        self.assertGreater(kept["failures_in_a_row"], 0)
        self.assertEqual(self.send("Kept").returncode, OK)
        self.assertNotEqual(self.send("Fresh", 300).returncode, OK)  # there never was a good route
        # Brokers that nobody reaches are no reason to refuse a route, and no harm to those that are reached.
        broker = f"127.0.0.1:{self.good.broker_ports[0]}"
        body = route([broker_data("broker-a", broker), broker_data("gone", "127.0.0.1:1"), broker_data("same", broker)],
                     [queue_data("broker-a", 4), queue_data("gone"), queue_data("same")])
        server.misbehave = says(lambda r: reply(r, body))
        results = [self.send("Mixed", 1000).returncode for _ in range(12)]
        self.assertGreaterEqual(results.count(OK), 8, results)
        server.misbehave = None
        wait_until(lambda: self.send("Fresh", 1000).returncode == OK, 5, "the nameserver to be believed again")
        self.assert_nobody_else_noticed(rss)

    # ---- brokers ----

    def test_frames_of_a_broker(self):
        def answer(request):
            return reply(request, extFields={"msgId": "7F000001000051AF0000000020F5634C", "queueId": "0", "queueOffset": "1"})
        broker = self.serve(answer)
        broker.code = SEND_MESSAGE_V2
        nameserver = self.serve(lambda request: reply(request, honest_route("bad", broker.address)))
        self.start(nameserver.address)
        self.assertEqual(self.send("B").returncode, OK)
        rss = rss_kib(self.hub.pid)
        closing = dict(CLOSING)
        closing["a reply that is no send reply"] = (lambda r: frame(b'{"code":"x","opaque":' + str(r.opaque).encode() + b',"flag":1}'), "undecodable frame")
        for name, (data_of, reason) in closing.items():
            with self.subTest(name):
                broker.misbehave = says(data_of) if data_of else says(lambda r: reply(r)[:10], goes_on=False)
                result = self.send("B", 1500)
                self.assertNotEqual(result.returncode, OK, result.stdout)
                self.assertRegex(result.stdout, r"UNKNOWN|NOT_STORED")
                self.assertRegex(result.stdout, reason)
                broker.misbehave = None
                wait_until(lambda: self.send("B", 1000).returncode == OK, 5, "the broker to be believed again")
        for name, data_of in (("another opaque", lambda r: reply(r, opaque=r.opaque ^ 0x40000)), ("a part of a frame", lambda r: answer(r)[:20])):
            with self.subTest(name):
                broker.misbehave = says(data_of)
                result = self.send("B", 200)
                self.assertIn("UNKNOWN", result.stdout)
        broker.drop_connections()
        broker.misbehave = in_slices(answer)
        wait_until(lambda: self.send("B", 1000).returncode == OK, 5, "a reply that comes byte by byte")
        # A flood of requests that no broker would send, before an honest answer.
        flood = b"".join(frame(json.dumps({**header_of(Frame(reply_of(i))), "flag": 0, "code": code}).encode(), b"\xff" * 20)
                         for i in range(100) for code in (39, 40, 220, 221, 307, 309, 326, 9999))
        broker.misbehave = says(lambda r: flood + answer(r))
        wait_until(lambda: self.send("B", 1000).returncode == OK, 5, "the answer behind the flood")
        # Nonsense for every heartbeat, which comes first on each connection: dialled again, but not in a loop.
        broker.misbehave, broker.code = says(lambda r: b"\xff" * 64), HEART_BEAT
        broker.drop_connections()
        wait_until(lambda: "not a remoting frame" in (self.connection(broker) or {"last_error": ""})["last_error"], 5, "the reason to be told")
        accepted = len(broker.connections)
        time.sleep(1)
        self.assertLess(len(broker.connections) - accepted, 12)
        broker.misbehave = None
        wait_until(lambda: self.send("B", 1500).returncode == OK, 5, "the broker to be believed again")
        self.assert_nobody_else_noticed(rss)


def reply_of(opaque):
    """A frame that has that opaque."""
    return frame(json.dumps({"code": 0, "flag": 1, "language": "JAVA", "opaque": opaque, "version": 399}).encode())


main()
