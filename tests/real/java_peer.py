"""RocketMQ's own Java client as a peer: sends, reads back, and mqadmin's view of the connections."""

import pathlib
import re
import shutil
import typing
from urllib.parse import unquote_plus

from processes import CheckFailed, run, spawn, stop, wait_until
from servers import JAVA17_FLAGS, LOGBACK

# Names that the Java client or a broker adds by itself to what the producer set.
ADDED_PROPERTIES = {
    "UNIQ_KEY", "WAIT", "KEYS", "TAGS",                # client
    "CLUSTER", "MSG_REGION", "TRACE_ON",               # broker, at the store
    "MIN_OFFSET", "MAX_OFFSET",                        # reading client
}


class Sent(typing.NamedTuple):
    """One line of Sender.java."""
    seq: int
    status: str
    uniq_key: str
    queue: str
    offset: str


class Stored(typing.NamedTuple):
    """One message as ReadBack.java found it in the broker."""
    uniq_key: str
    broker: str
    queue: int
    offset: int
    crc: int
    length: int
    keys: str
    tags: str
    reconsume_times: int
    sys_flag: int
    all_properties: dict

    @property
    def properties(self):
        """What the application set."""
        return {k: v for k, v in self.all_properties.items() if k not in ADDED_PROPERTIES}


class JavaPeer:
    """The unmodified 4.9.3 client and tools, which are the reference against every server. jars is what fetch.sh
    fetched, classes what run.sh compiled, work_dir a directory of this run, properties more system properties."""

    def __init__(self, jars, classes, work_dir, properties=None):
        self.jars = jars
        self.classes = classes
        self.properties = properties or {}
        self.home = pathlib.Path(work_dir) / "mqadmin"   # mqadmin wants a logback file in its own place
        (self.home / "conf").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(LOGBACK, self.home / "conf" / "logback_tools.xml")

    def with_properties(self, work_dir, properties):
        """The same peer with settings of its own, such as TLS or credentials."""
        return JavaPeer(self.jars, self.classes, work_dir, properties)

    def command(self, main_class, *args):
        """The command line of one of our Java programs, or of one of RocketMQ's."""
        return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *JAVA17_FLAGS, f"-Duser.home={self.home}",
                "-Drocketmq.client.logUseSlf4j=true", f"-Dlogback.configurationFile={LOGBACK}",
                *(f"-D{name}={value}" for name, value in self.properties.items()),
                "-cp", f"{self.classes}:{self.jars}/*", main_class, *args]

    def send(self, namesrv, group, topic, name, count, size, mode):
        """Sends count test messages and returns a Sent per message."""
        result = run(self.command("Sender", namesrv, group, topic, name, count, size, mode, 0), 120)
        sent = [Sent(int(line[0]), *line[1:]) for line in (row.split("\t") for row in result.stdout.splitlines()) if len(line) == 5]
        if result.returncode != 0 or len(sent) != count:
            raise CheckFailed(f"Java Sender ({mode}) ended with status {result.returncode} and {len(sent)} of {count} results: {result.stderr[-800:]}")
        return sent

    def consume(self, namesrv, topic, count, seconds):
        """Reads count fresh messages with every kind of consumer; returns {kind: (distinct, delivered again)}."""
        result = run(self.command("Consumers", namesrv, topic, count, seconds), seconds + 60)
        rows = [line.split("\t") for line in result.stdout.splitlines()]
        return {row[0]: (int(row[1]), int(row[2])) for row in rows if len(row) == 3}

    def holding_sender(self, namesrv, group, topic, hold_ms):
        """Starts a Java producer that sends one message and keeps its connection; returns the process once it has sent."""
        log = self.home / f"holder-{group}.out"
        process = spawn(self.command("Sender", namesrv, group, topic, "holder", 1, 64, "sync", hold_ms), log)
        try:
            wait_until(lambda: "# sent" in log.read_text(), 60, "the Java producer to send its message")
        except BaseException:
            stop(process)
            raise
        return process

    def read_back(self, namesrv, topic):
        """Every message of the topic, in broker, queue and offset order."""
        result = run(self.command("ReadBack", namesrv, topic), 180)
        lines = result.stdout.splitlines()
        if result.returncode != 0 or not lines or not lines[-1].startswith("# read"):
            raise CheckFailed(f"Java ReadBack of {topic} ended with status {result.returncode}: {result.stderr[-800:]}")
        return sorted((_stored(line) for line in lines if not line.startswith("#")), key=lambda m: (m.broker, m.queue, m.offset))

    def mqadmin(self, namesrv, *args):
        """The output of one mqadmin command. Its exit status says nothing (0 after errors too) and is not looked at."""
        result = run(self.command("org.apache.rocketmq.tools.command.MQAdminStartup", *args, "-n", namesrv), 60,
                     {"ROCKETMQ_HOME": str(self.home)})
        return result.stdout + result.stderr

    def producer_connections(self, namesrv, group, topic):
        """The connections that the topic's broker knows for a producer group; none when it does not know the group. On a busy
        machine mqadmin may time out; that is neither, and is asked again."""
        output = ""
        for _ in range(4):
            output = self.mqadmin(namesrv, "producerConnection", "-g", group, "-t", topic)
            rows = parse_producer_connection(output)
            if rows or "not exist" in output or "Not found the producer group connection" in output:
                return rows
        raise CheckFailed(f"mqadmin producerConnection of {group}: neither rows nor an unknown group: {output[-600:]}")


def _stored(line):
    fields = line.split("\t")
    text = [unquote_plus(f) for f in fields]
    properties = dict((unquote_plus(k), unquote_plus(v)) for k, v in (p.split("=", 1) for p in fields[10].split("&") if p))
    return Stored(text[0], text[1], int(text[2]), int(text[3]), int(text[4]), int(text[5]), text[6], text[7], int(text[8]), int(text[9]), properties)


class Connection(typing.NamedTuple):
    """One row of mqadmin producerConnection."""
    client_id: str
    address: str
    language: str
    version: str


def parse_producer_connection(output):
    """The rows of mqadmin producerConnection's output, e.g.
    '0001  192.0.2.2@4711#81           192.0.2.2:40822        JAVA     V4_9_3'."""
    row = re.compile(r"^\s*\d+\s+(\S+)\s+(\S+:\d+)\s+(\S+)\s+(\S+)\s*$")
    return [Connection(*match.groups()) for match in map(row.match, output.splitlines()) if match]
