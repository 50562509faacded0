#!/usr/bin/env python3
"""The examples of the library do what they print: their messages are looked up in the broker's log."""

from system_test import BIN, FAILED, OK, SystemTest, main, run


class Examples(SystemTest):
    def setUp(self):
        super().setUp()
        self.broker = self.start_broker()

    def example(self, name, *args):
        return run([BIN / name, *args], 60, {"RMQHUB_RUNTIME_DIR": str(self.runtime_dir)})

    def test_producer_sync_prints_what_the_broker_stored(self):
        self.start_hub("--namesrv", self.broker.namesrv)
        result = self.example("producer_sync", "ExampleGroup", "ExampleTopic", 20)
        self.assertEqual(result.returncode, OK, result.stderr)
        printed = set()
        for line in result.stdout.splitlines():
            outcome, key, broker, _, queue, _, offset = line.split()
            self.assertEqual(outcome, "STORED")
            printed.add((key, broker, int(queue), int(offset)))
        stored = {(m.uniq_key, m.broker, m.queue, m.offset) for m in self.broker.log().stored if m.topic == "ExampleTopic"}
        self.assertEqual(len(printed), 20)
        self.assertEqual(printed, stored)

    def test_producer_async_gets_every_answer(self):
        self.start_hub("--namesrv", self.broker.namesrv)
        result = self.example("producer_async", "ExampleGroup", "ExampleTopic", 2000)
        self.assertEqual(result.stdout, "stored 2000, not stored 0, unknown 0\n", result.stderr)
        self.assertEqual(result.returncode, OK)
        self.assertEqual(len({m.uniq_key for m in self.broker.log().stored}), 2000)

    def test_without_a_hub_they_say_what_is_missing(self):
        for name in ("producer_sync", "producer_async"):
            result = self.example(name, "ExampleGroup", "ExampleTopic", 1)
            self.assertEqual(result.returncode, FAILED)
            self.assertIn("RMQHUB_ERR_HUB_NOT_RUNNING", result.stderr)


if __name__ == "__main__":
    main()
