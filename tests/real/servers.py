"""The three servers that the checks run against: real RocketMQ 4.9.3 and 5.3.3, and our own rmqhub-devbroker.

All are context managers with the same face: freeze(), .name, .namesrv ("127.0.0.1:port") and .broker_ports (what a
client may connect to for sends). By hand: python3 tests/real/servers.py 4.9.3 JARS_DIRECTORY runs one until it is interrupted.
"""

import contextlib
import json
import pathlib
import shutil
import signal
import socket
import struct
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))

import devbroker
from processes import CheckFailed, free_ports, spawn, tail, wait_until

JAVA17_FLAGS = [
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED"]
GET_ROUTEINFO_BY_TOPIC = 105
LOGBACK = pathlib.Path(__file__).with_name("logback.xml")


def route_exists(namesrv, topic):
    """Asks the nameserver for a topic's route with a hand-made frame, so that readiness depends on no code under test."""
    header = json.dumps({"code": GET_ROUTEINFO_BY_TOPIC, "language": "OTHER", "version": 399, "opaque": 1, "flag": 0,
                         "serializeTypeCurrentRPC": "JSON", "extFields": {"topic": topic}}).encode()
    host, port = namesrv.split(":")
    try:
        with socket.create_connection((host, int(port)), 2) as s:
            s.sendall(struct.pack(">II", 4 + len(header), len(header)) + header)
            reader = s.makefile("rb")
            _, header_len = struct.unpack(">II", reader.read(8))
            return json.loads(reader.read(header_len & 0xFFFFFF))["code"] == 0
    except (OSError, ValueError, KeyError, struct.error):
        return False


class RealServers:
    """One nameserver and one broker of a real release, in a temporary directory that goes away with them."""

    def __init__(self, version, jars):
        self.version = version
        self.name = f"RocketMQ {version}"
        self.jars = jars
        self.processes = {}   # role: process
        self.home = None

    def java(self, heap, *args):
        return ["java", f"-Xmx{heap}", "-XX:+UseSerialGC", *JAVA17_FLAGS, f"-Duser.home={self.home}", "-cp", f"{self.jars}/*", *args]

    def __enter__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="rmqhub-real-"))
        (self.home / "conf").mkdir()
        for name in ("namesrv", "broker", "tools"):
            shutil.copyfile(LOGBACK, self.home / "conf" / f"logback_{name}.xml")
        # The broker takes its port, the one two below ("VIP") and the one above (HA).
        namesrv_port = free_ports([0, 8, 10, 11])
        broker_port = namesrv_port + 10
        self.namesrv = f"127.0.0.1:{namesrv_port}"
        self.broker_ports = {broker_port, broker_port - 2}
        try:
            self.start_namesrv()
            self._start_broker(broker_port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_namesrv(self):
        conf = self.home / "namesrv.conf"
        conf.write_text(f"listenPort={self.namesrv.split(':')[1]}\n")
        self._start_java("namesrv", "256m", "org.apache.rocketmq.namesrv.NamesrvStartup", "-c", conf)

    def kill_namesrv(self):
        self._kill("namesrv")

    def _start_broker(self, port):
        mapped = "mapedFileSize" if self.version.startswith("4.") else "mappedFileSize"
        store = self.home / "store"
        conf = self.home / "broker.conf"
        conf.write_text("\n".join([
            "brokerClusterName=DefaultCluster", "brokerName=broker-a", "brokerId=0", "brokerIP1=127.0.0.1",
            f"listenPort={port}", f"namesrvAddr={self.namesrv}", "autoCreateTopicEnable=true",
            f"storePathRootDir={store}", f"storePathCommitLog={store}/commitlog",
            f"{mapped}CommitLog=134217728", f"{mapped}ConsumeQueue=600000",
            "flushDiskType=ASYNC_FLUSH", "diskMaxUsedSpaceRatio=98",
            # A busy test machine lets requests wait; refusing them after 200 ms is not what the checks are about.
            "waitTimeMillsInSendQueue=10000", "osPageCacheBusyTimeOutMills=10000", ""]))
        self._start_java("broker", "1g", "-XX:MaxDirectMemorySize=1g", "org.apache.rocketmq.broker.BrokerStartup", "-c", conf)
        wait_until(lambda: route_exists(self.namesrv, "TBW102"), 30, f"the route of TBW102 at {self.namesrv}")

    def _start_java(self, role, heap, *args):
        """Starts one server and waits for the words that both releases print when they are up."""
        log = self.home / f"{role}.out"
        log.unlink(missing_ok=True)   # of an earlier life
        process = spawn(self.java(heap, *args), log, {"ROCKETMQ_HOME": str(self.home)})
        self.processes[role] = process

        def up():
            if process.poll() is not None:
                raise CheckFailed(f"{self.name} {role} ended with status {process.returncode}:\n{tail(log)}")
            return "boot success" in log.read_text(errors="replace")
        wait_until(up, 90, f"{self.name} {role} to print 'boot success'", 0.2)

    def _kill(self, role):
        process = self.processes.pop(role)
        process.kill()
        process.wait()

    def restart_broker(self):
        """SIGKILL and a new life on the same port and store."""
        self._kill("broker")
        self._start_broker(min(self.broker_ports) + 2)

    def freeze(self, frozen):
        """Stops the broker in its tracks, or lets it go on."""
        self.processes["broker"].send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def __exit__(self, *_):
        # Their store is thrown away, so nothing is gained by waiting up to 20 s for an orderly end.
        for role in list(self.processes):
            self._kill(role)
        if self.home is not None:
            shutil.rmtree(self.home, ignore_errors=True)
            self.home = None


class DevBroker(devbroker.DevBroker):
    """rmqhub-devbroker with the face of a real server."""

    name = "devbroker"

    def __init__(self, bin_dir):
        self._folder = tempfile.TemporaryDirectory(prefix="rmqhub-devbroker-")
        super().__init__(bin_dir, pathlib.Path(self._folder.name))

    def __exit__(self, *_):
        super().__exit__()
        self._folder.cleanup()

    def freeze(self, frozen):
        self.process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)


def main():
    version, jars = sys.argv[1:3]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt), RealServers(version, jars) as servers:
        print(f"{servers.name} is up: nameserver {servers.namesrv}, broker ports {sorted(servers.broker_ports)}; Ctrl-C stops it", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
