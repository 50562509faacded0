#!/usr/bin/env python3
"""What a hub remembers over its restarts: routes, and the name that stands for DEFAULT."""

import json
import re
import time

from system_test import FAILED, OK, TIMEOUT, SystemTest, main, wait_until


class Cache(SystemTest):
    def setUp(self):
        super().setUp()
        self.broker = self.start_broker()
        self.conf = self.file("rmqhub.conf", "[cluster c]\n"
                              f"namesrv_addr = {self.broker.namesrv}\npoll_name_server_interval_ms = 1000\n")
        self.hub = self.start_hub("-c", self.conf)

    def send(self):
        result = self.rmqhub("send", "--group", "g", "--topic", "CachedTopic", "--body", "x")
        self.assertEqual(result.returncode, OK, result.stderr + result.stdout)

    def assert_not_stored(self, *args):
        result = self.rmqhub("send", "--group", "g", "--topic", "CachedTopic", "--body", "x", *args)
        self.assertIn(result.returncode, (FAILED, TIMEOUT), result.stdout + result.stderr)

    def items(self, verb):
        result = self.rmqhub(verb, "--json")
        self.assertEqual(result.returncode, OK, result.stderr)
        return json.loads(result.stdout)["items"]

    def route(self):
        rows = [item for item in self.items("routes") if item["topic"] == "CachedTopic"]
        return rows[0] if rows else None

    def route_source(self):
        row = self.route()
        return row["source"] if row else None

    def stats(self):
        return {item["name"]: int(item["value"]) for item in self.items("stats")}

    def client_id(self):
        return wait_until(lambda: [item["client_id"] for item in self.items("instances")], 5, "an instance")[0]

    def wait_until_saved(self):
        """The writer commits within about a second."""
        def saved():
            stats = self.stats()
            return stats["store_commits"] > 0 and stats["store_unwritten"] == 0 and stats["store_entries"] >= 5
        wait_until(saved, 10, "name, configuration, routes and broker to be written")

    def restart(self):
        self.hub.kill()
        self.hub.wait()
        self.hub = self.start_hub("-c", self.conf)

    def without_nameserver(self):
        self.broker.command("listen off nameserver")
        self.broker.command("disconnect all")

    def test_a_killed_hub_sends_by_its_cached_routes_while_no_nameserver_answers(self):
        self.send()
        self.wait_until_saved()
        self.without_nameserver()
        self.restart()
        self.send()
        wait_until(lambda: self.route_source() == "cache", 5, f"source cache, not {self.route_source()}")
        self.broker.command("listen on nameserver")
        wait_until(lambda: self.route_source() == "nameserver", 10, "the first answer of the nameserver to replace it")

    def test_a_hub_that_starts_while_the_nameservers_are_silent_does_not_wait_for_them(self):
        self.send()
        self.wait_until_saved()
        self.broker.command("fault route no-reply")
        self.restart()
        started = time.monotonic()
        self.send()
        self.assertLess(time.monotonic() - started, 0.4)  # their time-out is 3 s
        wait_until(lambda: self.route_source() == "cache", 5, f"source cache, not {self.route_source()}")  # the table is behind
        self.broker.command("fault clear")
        wait_until(lambda: self.route_source() == "nameserver", 10, "the first answer of the nameserver to replace it")

    def test_a_missing_topic_stays_missing(self):
        self.send()
        self.wait_until_saved()
        self.broker.command("fault route error=17")
        self.restart()
        self.assert_not_stored("--timeout", "2000")
        self.end_hub(self.hub)  # which writes what it still has to forget
        self.without_nameserver()
        self.hub = self.start_hub("-c", self.conf)
        self.assert_not_stored("--timeout", "500")

    def test_a_route_of_other_nameservers_is_not_used(self):
        self.send()
        self.wait_until_saved()
        self.hub.kill()
        self.hub.wait()
        elsewhere = self.closed_port()
        self.conf = self.file("rmqhub.conf", f"[cluster c]\nnamesrv_addr = {elsewhere}\n")
        before = self.log_size()
        self.hub = self.start_hub("-c", self.conf)
        self.assert_not_stored("--timeout", "500")
        self.assertIn(f"the kept route is not used: it came from {self.broker.namesrv}, which is no longer one of the nameservers",
                      self.log_since(before))

    def test_a_restarted_hub_keeps_the_name_that_stands_for_default(self):
        self.send()
        before = self.client_id()
        self.assertRegex(before, r"@\d+#\d+$")
        self.wait_until_saved()
        self.restart()
        self.send()
        self.assertEqual(self.client_id(), before)

    def test_a_damaged_cache_is_set_aside_and_rebuilt(self):
        self.send()
        self.wait_until_saved()
        self.hub.kill()
        self.hub.wait()
        file = self.state_dir / "data.mdb"
        file.write_bytes(file.read_bytes()[:5000])
        before = self.log_size()
        self.hub = self.start_hub("-c", self.conf)
        self.assertRegex(self.log_since(before), r"data\.mdb was damaged \(.+\).* kept as data\.mdb\.damaged-")
        self.assertEqual(len(list(self.state_dir.glob("data.mdb.damaged-*"))), 1)
        self.send()
        self.wait_until_saved()

    def test_noise_in_the_cache_never_becomes_a_route(self):
        self.send()
        self.wait_until_saved()
        self.hub.kill()
        self.hub.wait()
        file = self.state_dir / "data.mdb"
        file.write_bytes(re.sub(rb"127\.0\.0\.1", b"127.0.0.2", file.read_bytes()))
        self.without_nameserver()
        self.hub = self.start_hub("-c", self.conf)
        self.assert_not_stored("--timeout", "300")


if __name__ == "__main__":
    main()
