#!/usr/bin/env python3
"""How a hub ends, with nobody there and with somebody waiting."""

import signal

from system_test import OK, SystemTest, main


class Stop(SystemTest):
    def test_sigterm_ends_an_idle_hub_at_once_with_status_0(self):
        self.end_hub(self.start_hub("--namesrv", self.closed_port()), OK, timeout_s=3)

    def test_sigint_does_the_same(self):
        self.end_hub(self.start_hub("--namesrv", self.closed_port()), OK, signal.SIGINT, timeout_s=3)


if __name__ == "__main__":
    main()
