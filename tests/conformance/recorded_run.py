"""recording_proxy.py as a process."""

import pathlib
import sys

from processes import CheckFailed, spawn, stop, tail, wait_until

PROGRAM = pathlib.Path(__file__).with_name("recording_proxy.py")


class RecordingProxy:
    """One running proxy: .namesrv is where its client finds the nameservers, .trace the file it writes."""

    def __init__(self, trace, nameservers):
        self.trace = trace
        self.log = trace.with_suffix(".out")
        self.process = spawn([sys.executable, "-B", PROGRAM, "--trace", trace, *nameservers], self.log)

        def ready():
            if self.process.poll() is not None:
                raise CheckFailed(f"the recording proxy ended with status {self.process.returncode}: {tail(self.log)}")
            return "ready" in self.log.read_text()
        wait_until(ready, 10, "the recording proxy")
        self.namesrv = ";".join(line.split()[1] for line in self.log.read_text().splitlines() if line.startswith("nameserver"))

    def stop(self):
        stop(self.process)
