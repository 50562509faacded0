#!/usr/bin/env python3
"""How a hub ends, with nobody there and with somebody waiting."""

import signal
import time

from system_test import OK, TIMEOUT, SystemTest, main, tail

SEND = 310


class Idle(SystemTest):
    def test_sigterm_ends_an_idle_hub_at_once_with_status_0(self):
        self.end_hub(self.start_hub("--namesrv", self.closed_port()), OK, timeout_s=3)

    def test_sigint_does_the_same(self):
        self.end_hub(self.start_hub("--namesrv", self.closed_port()), OK, signal.SIGINT, timeout_s=3)

    def test_a_stopped_hub_leaves_no_socket_and_a_table_that_says_so(self):
        self.end_hub(self.start_hub("--namesrv", self.closed_port()))
        self.assertFalse((self.runtime_dir / "hub.sock").exists())
        result = self.rmqhub("status", "--json")
        self.assertEqual(result.returncode, OK, result.stderr)
        self.assertIn('"stale":true', result.stdout.replace(" ", ""))


class Busy(SystemTest):
    def setUp(self):
        super().setUp()
        self.broker = self.start_broker()

    def start(self, drain_timeout_ms=5000):
        conf = self.file("rmqhub.conf", f"[hub]\ndrain_timeout_ms = {drain_timeout_ms}\n[cluster c]\nnamesrv_addr = {self.broker.namesrv}\n")
        return self.start_hub("-c", conf)

    def events(self, kind):
        return [event for event in self.broker.log().events if event.kind == kind]

    def test_sigterm_lets_what_is_in_flight_finish_and_then_unregisters(self):
        hub = self.start()
        self.broker.command(f"fault {SEND} delay=700")
        sender = self.start_sender("--timeout", "10000")
        self.wait_for_pending(1)
        self.end_hub(hub, OK)
        self.assertIn("STORED SEND_OK", self.finish_sender(sender, OK))
        self.assertIn("producer_group=g ", " ".join(e.details for e in self.events("unregister")))

    def test_the_drain_is_bounded(self):
        hub = self.start(drain_timeout_ms=300)
        self.broker.command(f"fault {SEND} no-reply")
        self.start_sender("--timeout", "30000")
        self.wait_for_pending(1)
        started = time.monotonic()
        self.end_hub(hub, OK)
        self.assertLess(time.monotonic() - started, 5)

    def test_a_second_sigterm_ends_it_at_once(self):
        hub = self.start(drain_timeout_ms=60000)
        self.broker.command(f"fault {SEND} no-reply")
        sender = self.start_sender("--timeout", "3000")
        self.wait_for_pending(1)
        before = self.log_size()
        hub.send_signal(signal.SIGTERM)
        self.wait_for_log("finishing what is in flight", before, hub)
        hub.send_signal(signal.SIGTERM)
        self.assertEqual(hub.wait(2), OK, tail(self.log))
        self.assertIn("UNKNOWN", self.finish_sender(sender, TIMEOUT))

    def test_the_next_hub_takes_over_what_a_stopped_one_left(self):
        hub = self.start(drain_timeout_ms=0)
        self.broker.command(f"fault {SEND} no-reply times=1")
        sender = self.start_sender("--timeout", "15000")
        self.wait_for_pending(1)
        self.end_hub(hub, OK)
        hub = self.start()
        self.assertIn("STORED SEND_OK", self.finish_sender(sender, OK))
        self.end_hub(hub, OK)


if __name__ == "__main__":
    main()
