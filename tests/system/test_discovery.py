#!/usr/bin/env python3
"""Nameservers found over HTTP: a list that changes, a server that is down, answers garbage or nothing at all."""

import http.server
import json
import pathlib
import socket
import tempfile
import threading
import time

from system_test import BIN, OK, DevBroker, SystemTest, main, wait_until

SECOND_FETCH_S = 10  # after the start; then every 2 minutes, as in 4.9.3


class Lists:
    """Answers every GET with `body`; None: never, as long as the test lasts."""

    def __init__(self, port=0):
        self.body, self.paths, self.headers, self.over = "", [], [], threading.Event()
        lists = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # pylint: disable=invalid-name
                lists.paths.append(self.path)
                lists.headers.append(self.headers)
                if lists.body is None:
                    lists.over.wait()
                    return
                data = lists.body.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


class Discovery(SystemTest):
    def serve(self, body, port=0):
        lists = Lists(port)
        self.addCleanup(lists.close)
        lists.body = body
        return lists

    def start_by(self, address, *lines):
        conf = self.file("rmqhub.conf", f"[cluster c]\nnamesrv_domain = {address}\n" + "".join(f"{line}\n" for line in lines))
        return self.start_hub("-c", conf)

    def second_broker(self):
        directory = tempfile.TemporaryDirectory(prefix="rmqhub-st-")
        self.addCleanup(directory.cleanup)
        broker = DevBroker(BIN, pathlib.Path(directory.name))
        self.addCleanup(broker.__exit__)
        return broker.__enter__()

    def send(self, timeout_ms=3000):
        return self.rmqhub("send", "--group", "g", "--topic", "T", "--body", "x", "--timeout", str(timeout_ms)).returncode

    def items(self, verb):
        result = self.rmqhub(verb, "--json")
        self.assertEqual(result.returncode, OK, result.stderr)
        return json.loads(result.stdout)["items"]

    def counter(self, name):
        return next((int(item["value"]) for item in self.items("stats") if item["name"] == name), None)

    def instance(self):
        return wait_until(lambda: self.items("instances"), 5, "an instance")[0]

    def test_a_producer_needs_no_address(self):
        lists = self.serve("")
        broker = self.start_broker()
        lists.body = f"{broker.namesrv}\r\n"
        self.start_by(lists.address, "unit_name = u1", "namesrv_domain_subgroup = ns")
        self.assertEqual(self.send(), OK)
        self.assertEqual(lists.paths, ["/rocketmq/ns-u1?nofix=1"])
        self.assertEqual(lists.headers[0]["Client-Version"], "V4_9_3")
        self.assertEqual(self.instance()["discovery_url"], f"http://{lists.address}/rocketmq/ns-u1?nofix=1")

    def test_an_address_or_an_endpoint_in_the_environment_forbids_the_question(self):
        broker = self.start_broker()
        for value in (broker.namesrv, f"http://{broker.namesrv}", f"http://any/path/{broker.namesrv}"):
            with self.subTest(value=value):
                hub = self.start_hub(env={"NAMESRV_ADDR": value})
                self.assertEqual(self.send(), OK)
                self.assertEqual(self.instance()["discovery_url"], "")
                self.assertNotIn("fetch name server address", [t["task"] for t in self.items("tasks")])
                self.end_hub(hub)

    def test_a_list_that_changes_is_followed_without_a_restart(self):
        first, second = self.start_broker(), self.second_broker()
        lists = self.serve(first.namesrv)
        self.start_by(lists.address, "poll_name_server_interval_ms = 1000")
        self.assertEqual(self.send(), OK)
        lists.body = second.namesrv
        wait_until(lambda: len(lists.paths) == 2, SECOND_FETCH_S + 5, "the second fetch")

        def moved():
            self.assertEqual(self.send(), OK)
            return any(r["topic"] == "T" and r["from"] == second.namesrv for r in self.items("routes"))
        wait_until(moved, 10, "the route to come from the new nameserver", 0.1)
        first.command("quit")
        self.assertEqual(self.send(), OK)
        self.assertEqual([s.topic for s in second.log().stored][-1:], ["T"])

    def test_a_server_that_is_down_or_talks_nonsense_delays_nothing_but_the_list(self):
        broker = self.start_broker()
        held = socket.socket()
        held.bind(("127.0.0.1", 0))  # and not listened on
        port = held.getsockname()[1]
        began = time.monotonic()
        self.start_by(f"127.0.0.1:{port}")
        self.assertLess(time.monotonic() - began, 3)
        self.assertNotEqual(self.send(500), OK)
        wait_until(lambda: self.instance()["discovery_error"], 5, "the failure to show")
        held.close()
        lists = self.serve(broker.namesrv, port)
        wait_until(lambda: lists.paths, SECOND_FETCH_S + 5, "the second fetch")
        self.assertEqual(self.send(), OK)

    def test_garbage_leaves_the_kept_list_in_use(self):
        broker = self.start_broker()
        lists = self.serve(broker.namesrv)
        hub = self.start_by(lists.address)
        self.assertEqual(self.send(), OK)
        wait_until(lambda: self.counter("store_unwritten") == 0, 10, "the list to be written")
        self.end_hub(hub)
        lists.body = "<html><body>502 Bad Gateway</body></html>"
        self.start_by(lists.address)
        self.assertEqual(self.send(), OK)  # by the list of the earlier run
        wait_until(lambda: self.counter("discovery_refused_garbage") == 1, 5, "the refusal to be counted")
        self.assertIn("discovery-failed", [p["rule"] for p in self.items("problems")])
        self.assertTrue(self.instance()["discovery_unconfirmed"])
        self.assertEqual(self.send(), OK)

    def test_silence_holds_nobody_up(self):
        lists = self.serve(None)
        self.start_by(lists.address)
        self.assertNotEqual(self.send(200), OK)
        wait_until(lambda: lists.paths, 5, "the fetch")
        for _ in range(5):
            began = time.monotonic()
            self.assertEqual(self.rmqhub("status", "--json").returncode, OK)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as attach:
                attach.connect(str(self.runtime_dir / "hub.sock"))
            self.assertLess(time.monotonic() - began, 2)


main()
