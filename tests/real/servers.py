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
from remoting_frame import GET_ROUTEINFO_BY_TOPIC, read_frame

JAVA17_FLAGS = [
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED"]
LOGBACK = pathlib.Path(__file__).with_name("logback.xml")


def route_exists(namesrv, topic, tls=None):
    """Asks one nameserver for a topic's route with a hand-made frame, so that readiness depends on no code under test.
    tls is an ssl.SSLContext, if the nameserver wants one."""
    return bool(brokers_of(namesrv, topic, tls))


def brokers_of(namesrv, topic, tls=None):
    """The names of the brokers in the route that one nameserver has of a topic; none if it does not answer."""
    header = json.dumps({"code": GET_ROUTEINFO_BY_TOPIC, "language": "OTHER", "version": 399, "opaque": 1, "flag": 0,
                         "serializeTypeCurrentRPC": "JSON", "extFields": {"topic": topic}}).encode()
    host, port = namesrv.split(":")
    try:
        with contextlib.ExitStack() as open_sockets:
            s = open_sockets.enter_context(socket.create_connection((host, int(port)), 2))
            if tls is not None:
                s = open_sockets.enter_context(tls.wrap_socket(s, server_hostname=host))
            s.sendall(struct.pack(">II", 4 + len(header), len(header)) + header)
            answer = read_frame(s.makefile("rb"))
            return {broker["brokerName"] for broker in answer.json_body()["brokerDatas"]} if answer.code == 0 else set()
    except (OSError, ValueError, KeyError, AttributeError, struct.error):
        return set()


class RealServers:
    """Nameservers and brokers of a real release, in a temporary directory that goes away with them. The brokers are called
    broker-a, broker-b, ...; each is known to every nameserver.

    properties are system properties of every process, settings more lines of broker.conf, files texts by their path below
    ROCKETMQ_HOME, and tls the ssl.SSLContext by which the harness itself may talk to the nameservers."""

    def __init__(self, version, jars, namesrvs=1, brokers=1, heap="1g", properties=None, settings=(), files=None, tls=None):
        self.version = version
        self.name = f"RocketMQ {version}"
        self.jars = jars
        self.counts = (namesrvs, brokers)
        self.heap = heap
        self.properties = properties or {}
        self.settings = settings
        self.files = files or {}
        self.tls = tls
        self.processes = {}   # role: process
        self.home = None

    def java(self, heap, *args):
        properties = [f"-D{name}={value}" for name, value in self.properties.items()]
        return ["java", f"-Xmx{heap}", "-XX:+UseSerialGC", *JAVA17_FLAGS, f"-Duser.home={self.home}", *properties, "-cp", f"{self.jars}/*", *args]

    def __enter__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="rmqhub-real-"))
        (self.home / "conf").mkdir()
        for name in ("namesrv", "broker", "tools"):
            shutil.copyfile(LOGBACK, self.home / "conf" / f"logback_{name}.xml")
        for path, text in self.files.items():
            (self.home / path).write_text(text)
        # A broker takes its port, the one two below ("VIP") and the one above (HA).
        distances = list(range(self.counts[0])) + [10 * (i + 1) + d for i in range(self.counts[1]) for d in (-2, 0, 1)]
        base = free_ports(distances)
        self.namesrvs = [f"127.0.0.1:{base + i}" for i in range(self.counts[0])]
        self.namesrv = ";".join(self.namesrvs)
        self.ports = [base + 10 * (i + 1) for i in range(self.counts[1])]   # of the brokers
        self.broker_ports = {port - vip for port in self.ports for vip in (0, 2)}
        try:
            for i in range(len(self.namesrvs)):
                self._spawn_namesrv(i)
            for i in range(len(self.namesrvs)):
                self._wait_for_boot(f"namesrv-{i}")
            for i in range(len(self.ports)):
                self._spawn_broker(i)
            for i in range(len(self.ports)):
                self._wait_for_broker(i)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _spawn_namesrv(self, i):
        conf = self.home / f"namesrv-{i}.conf"
        conf.write_text(f"listenPort={self.namesrvs[i].split(':')[1]}\n")
        self._spawn(f"namesrv-{i}", "256m", "org.apache.rocketmq.namesrv.NamesrvStartup", "-c", conf)

    def start_namesrv(self, i=0):
        self._spawn_namesrv(i)
        self._wait_for_boot(f"namesrv-{i}")

    def kill_namesrv(self, i=0):
        self._kill(f"namesrv-{i}")

    @staticmethod
    def broker_name(i):
        return f"broker-{'abcdefgh'[i]}"

    def _spawn_broker(self, i):
        mapped = "mapedFileSize" if self.version.startswith("4.") else "mappedFileSize"
        store = self.home / f"store-{i}"
        conf = self.home / f"broker-{i}.conf"
        conf.write_text("\n".join([
            "brokerClusterName=DefaultCluster", f"brokerName={self.broker_name(i)}", "brokerId=0", "brokerIP1=127.0.0.1",
            f"listenPort={self.ports[i]}", f"namesrvAddr={self.namesrv}", "autoCreateTopicEnable=true",
            f"storePathRootDir={store}", f"storePathCommitLog={store}/commitlog",
            f"{mapped}CommitLog=134217728", f"{mapped}ConsumeQueue=600000",
            "flushDiskType=ASYNC_FLUSH", "diskMaxUsedSpaceRatio=98",
            # A busy test machine lets requests wait; refusing them after 200 ms is not what the checks are about.
            "waitTimeMillsInSendQueue=10000", "osPageCacheBusyTimeOutMills=10000", *self.settings, ""]))
        self._spawn(f"broker-{i}", self.heap, f"-XX:MaxDirectMemorySize={self.heap}", "org.apache.rocketmq.broker.BrokerStartup", "-c", conf)

    def _wait_for_broker(self, i):
        self._wait_for_boot(f"broker-{i}")
        for namesrv in self.namesrvs:
            if self.processes.get(f"namesrv-{self.namesrvs.index(namesrv)}"):
                self.wait_for_route(namesrv, "TBW102", {self.broker_name(i)})

    def wait_for_route(self, namesrv, topic, brokers):
        """Until one nameserver names these brokers, and perhaps more, for a topic."""
        wait_until(lambda: brokers <= brokers_of(namesrv, topic, self.tls), 60, f"the route of {topic} with {sorted(brokers)} at {namesrv}")

    def _log(self, role):
        return self.home / f"{role}.out"

    def _spawn(self, role, heap, *args):
        self._log(role).unlink(missing_ok=True)   # of an earlier life
        self.processes[role] = spawn(self.java(heap, *args), self._log(role), {"ROCKETMQ_HOME": str(self.home)})

    def _wait_for_boot(self, role):
        """Waits for the words that both releases print when they are up."""
        def up():
            process = self.processes[role]
            if process.poll() is not None:
                raise CheckFailed(f"{self.name} {role} ended with status {process.returncode}:\n{tail(self._log(role))}")
            return "boot success" in self._log(role).read_text(errors="replace")
        wait_until(up, 90, f"{self.name} {role} to print 'boot success'", 0.2)

    def _kill(self, role):
        process = self.processes.pop(role)
        process.kill()
        process.wait()

    def kill_broker(self, i=0):
        self._kill(f"broker-{i}")

    def start_broker(self, i=0):
        """A new life on the same port and store."""
        self._spawn_broker(i)
        self._wait_for_broker(i)

    def restart_broker(self):
        """SIGKILL and a new life."""
        self.kill_broker()
        self.start_broker()

    def freeze(self, frozen, i=0):
        """Stops a broker in its tracks, or lets it go on."""
        self.processes[f"broker-{i}"].send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

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
