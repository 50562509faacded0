#!/usr/bin/env python3
"""What a broker knows of producer groups while they come and go: the two unregister hazards, played against a broker
that expires registrations as 4.9.3 does, only forty times faster."""

import json
import re
import time

from system_test import OK, SystemTest, main, wait_until

EXPIRY_S = 3
MARKER = re.compile("^RMQHUB_[0-9a-f]{16}$")


class Registrations(SystemTest):
    def setUp(self):
        super().setUp()
        self.broker = self.start_broker("--channel-expiry-ms", str(EXPIRY_S * 1000), "--scan-ms", "200")
        conf = self.file("rmqhub.conf", "[hub]\nlinger_ms = 1000\n[cluster c]\n"
                         f"namesrv_addr = {self.broker.namesrv}\nheartbeat_broker_interval_ms = 1000\n")
        self.start_hub("-c", conf)
        self.keeper = self.start_sender("--group", "keep", "--count", "100", "--rate", "10")
        wait_until(lambda: "keep" in self.groups(), 5, "the first group to be registered")

    def lines(self, kind):
        rows = (line.split("\t") for line in self.broker.command("connections"))
        return [row for row in rows if row[0] == kind]

    def broker_connection(self):
        return [row[1] for row in self.lines("connection") if row[2] == "broker-a"]

    def groups(self):
        """The groups that users joined; the hub's own marker is told by marker()."""
        return {row[3]: row for row in self.lines("producer") if not MARKER.match(row[3])}

    def marker(self):
        return {row[3]: row for row in self.lines("producer") if MARKER.match(row[3])}

    def test_groups_that_leave_disturb_neither_the_connection_nor_replies(self):
        connection = self.broker_connection()
        for group in ("one", "two", "three"):
            result = self.rmqhub("send", "--group", group, "--topic", "T", "--body", "x")
            self.assertEqual(result.returncode, OK, result.stderr)
        self.assertIn("three", self.groups())
        wait_until(lambda: set(self.groups()) == {"keep", "CLIENT_INNER_PRODUCER"}, 5, "the others to be unregistered")
        # Hazard 17: a group that had only fallen silent would now cost the connection.
        time.sleep(EXPIRY_S + 1)
        self.assertEqual(self.broker_connection(), connection)
        self.assertEqual(set(self.groups()), {"keep", "CLIENT_INNER_PRODUCER"})
        # Hazard 16: replies to our clientId still find the connection.
        self.assertEqual({row[5] for row in self.groups().values()}, {"replies_to=" + connection[0]})
        self.assertEqual([row[5] for row in self.marker().values()], ["replies_to=" + connection[0]])
        self.finish_sender(self.keeper, OK)


class OneClientIdTwice(SystemTest):
    """Two hubs that were given the same address and instance name, as on two hosts that were cloned from one."""

    def start_one(self, name):
        self.runtime_dir, self.state_dir, self.log = self.dir / name, self.dir / (name + "-state"), self.dir / (name + ".log")
        conf = self.file(name + ".conf", f"[hub]\nlinger_ms = 0\n[cluster c]\nnamesrv_addr = {self.broker.namesrv}\nclient_ip = 192.0.2.2\n")
        self.start_hub("-c", conf)
        return self.start_sender("--instance", "twin", "--count", "300", "--rate", "10")

    def problems(self, name):
        self.runtime_dir = self.dir / name
        return [item for item in json.loads(self.rmqhub("problems", "--json").stdout)["items"] if item["rule"] == "duplicate-client-id"]

    def test_both_hubs_say_so(self):
        self.broker = self.start_broker()
        for name in ("a", "b"):
            self.start_one(name)
        for name in ("a", "b"):
            wait_until(lambda name=name: self.problems(name), 20, "the hub to see the other one")
            self.assertEqual([item["object"] for item in self.problems(name)], ["192.0.2.2@twin"])


if __name__ == "__main__":
    main()
