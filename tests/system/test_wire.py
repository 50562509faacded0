#!/usr/bin/env python3
"""What the hub writes on its sockets, against what the unmodified Java client 4.9.3 wrote for the same calls (tests/frames).

Servers that only record stand behind a real hub; they answer with the recorded replies of a real 4.9.3. Every
frame is decoded here, by Python's struct and json. Compared is every field of the command and of its body, except DIFFERENT.
"""

import json
import re
import socketserver
import threading

from system_test import BIN, SystemTest, main, run, wait_until
from remoting_frame import (GET_ROUTEINFO_BY_TOPIC, HEART_BEAT, SEND_MESSAGE_V2, UNREGISTER_CLIENT, read_frame, recorded,
                            with_json_header)

# What may differ from the Java client, and why.
DIFFERENT = {
    "language": "the hub is no Java program",
    "opaque": "a counter",
    "encoding": "the hub writes binary headers; both servers read both",
    "bornTimestamp": "the moment of the send (ext field g)",
    "UNIQ_KEY": "made of address, process id, time and a counter",
    "clientID": "holds the address of the host",
}
BORN_TIMESTAMP = "g"
QUEUES = range(4)  # of the recorded route


class Recorder(socketserver.ThreadingTCPServer):
    """A nameserver, a broker or both at one port. Keeps every frame that it is sent; routes lead to its broker."""

    daemon_threads = True

    def __init__(self):
        self.frames, self.lock = [], threading.Lock()
        super().__init__(("127.0.0.1", 0), Connection)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.broker = self
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def end(self):
        self.shutdown()
        self.server_close()

    def sent(self, code):
        with self.lock:
            return [frame for frame in self.frames if frame.code == code]

    def reply(self, frame):
        """The recorded reply to such a request, with the broker's address made this one's."""
        if frame.code == GET_ROUTEINFO_BY_TOPIC:
            answer = recorded("java_route_tbw102_resp" if frame.ext["topic"] == "TBW102" else "java_route_missing_resp")
            return with_json_header(answer, frame.opaque, answer.body.replace(b"127.0.0.1:20911", self.broker.address.encode()))
        name = {HEART_BEAT: "java_heartbeat_producer_resp", UNREGISTER_CLIENT: "java_unregister_producer_resp",
                SEND_MESSAGE_V2: "java_send_v2_resp"}[frame.code]
        return with_json_header(recorded(name), frame.opaque)


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        while (frame := read_frame(self.rfile)) is not None:
            with self.server.lock:
                self.server.frames.append(frame)
            if frame.flag & 2 == 0:  # not oneway
                self.wfile.write(self.server.reply(frame))


class Wire(SystemTest):
    """One producer, one hub, as the recorded Java program: library_probe's case "recorded" makes the same calls."""

    def start_recorder(self):
        recorder = Recorder()
        self.addCleanup(recorder.end)
        return recorder

    def start_servers(self):
        self.name_server, self.broker = self.start_recorder(), self.start_recorder()
        self.name_server.broker = self.broker

    def setUp(self):
        super().setUp()
        self.start_servers()
        hub = self.start_hub("--namesrv", self.name_server.address)
        done = run([BIN / "library_probe", "recorded", hub.pid], 60, {"RMQHUB_RUNTIME_DIR": str(self.runtime_dir)})
        self.assertEqual(done.returncode, 0, done.stderr)
        wait_until(lambda: self.broker.sent(UNREGISTER_CLIENT), 10, "the group to be unregistered")
        self.end_hub(hub)

    def assert_same(self, frame, java, without=()):
        """The parts that every command has, and the ext fields but those named."""
        self.assertEqual((frame.code, frame.version, frame.flag, frame.remark), (java.code, java.version, java.flag, java.remark))
        self.assertEqual({k: v for k, v in frame.ext.items() if k not in without}, {k: v for k, v in java.ext.items() if k not in without})
        self.assertEqual(set(frame.ext), set(java.ext))

    def assert_same_send(self, frames, java):
        """One of the frames, that to the recorded queue, is the recorded one; the others differ from it in their queue only."""
        self.assertEqual(sorted(int(frame.ext["e"]) for frame in frames), list(QUEUES))
        for frame in frames:
            self.assert_same(frame, java, without=("e", "i", BORN_TIMESTAMP))
            mine, theirs = frame.properties(), java.properties()
            self.assertRegex(mine.pop("UNIQ_KEY"), "^([0-9A-F]{32}|[0-9A-F]{56})$")
            theirs.pop("UNIQ_KEY")
            self.assertEqual(mine, theirs)
            self.assertRegex(frame.ext[BORN_TIMESTAMP], r"^\d{13}$")
            self.assertEqual(frame.body, java.body)
        self.assertIn(java.ext["e"], [frame.ext["e"] for frame in frames])
        self.assertEqual(len({frame.properties()["UNIQ_KEY"] for frame in frames}), len(frames))

    def test_every_frame_of_a_producer_s_life_is_that_of_the_java_client(self):
        with self.subTest("route of the topic, and of the topic that stands for a missing one"):
            for name in ("java_route_missing_req", "java_route_tbw102_req"):
                java = recorded(name)
                mine = [f for f in self.name_server.sent(GET_ROUTEINFO_BY_TOPIC) if f.ext["topic"] == java.ext["topic"]]
                self.assertTrue(mine, name)
                for frame in mine:
                    self.assert_same(frame, java)
                    self.assertEqual(frame.body, java.body)

        with self.subTest("heartbeat"):
            java = recorded("java_heartbeat_producer_req")
            frame = self.broker.sent(HEART_BEAT)[0]
            self.assert_same(frame, java)
            mine, theirs = (self.heartbeat(f) for f in (frame, java))
            markers = [group for group in mine["producerDataSet"] if re.match("^RMQHUB_[0-9a-f]{16}$", group["groupName"])]
            self.assertEqual(len(markers), 1)  # ours alone, see hub/instance/registration.h
            mine["producerDataSet"].remove(markers[0])
            self.assertRegex(mine.pop("clientID"), r"^[0-9.]+@specInst$")
            theirs.pop("clientID")
            self.assertEqual(mine, theirs)

        with self.subTest("sync send"):
            self.assert_same_send([f for f in self.broker.sent(SEND_MESSAGE_V2) if f.flag == 0], recorded("java_send_v2_req"))
        with self.subTest("oneway send"):
            self.assert_same_send([f for f in self.broker.sent(SEND_MESSAGE_V2) if f.flag == 2], recorded("java_send_oneway_req"))

        with self.subTest("unregister, of the group and of the inner producer"):
            client_id = self.heartbeat(self.broker.sent(HEART_BEAT)[0])["clientID"]
            for name in ("java_unregister_producer_req", "java_unregister_inner_producer_req"):
                java = recorded(name)
                mine = [f for f in self.broker.sent(UNREGISTER_CLIENT) if f.ext["producerGroup"] == java.ext["producerGroup"]]
                self.assertTrue(mine, name)
                for frame in mine:
                    self.assert_same(frame, java, without=("clientID",))
                    self.assertEqual(frame.ext["clientID"], client_id)
                    self.assertEqual(frame.body, java.body)

    @staticmethod
    def heartbeat(frame):
        """Its body; the groups are a set, so their order means nothing."""
        body = json.loads(frame.body)
        body["producerDataSet"].sort(key=lambda group: group["groupName"])
        return body


class WireThroughOneAddress(Wire):
    """Nameserver and broker at one address, and so on one connection, as RocketMQ 5's proxy has it."""

    def start_servers(self):
        self.name_server = self.broker = self.start_recorder()


if __name__ == "__main__":
    main()
