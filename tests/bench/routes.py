"""Benches of routes and heartbeats: a large cluster, flapping routes, a killed broker. For bench.py; alone: routes.py BIN_DIR [--quick].

A round's cost is the CPU of the hub's loop thread in the second of the round, less that of a second without one: both tasks
start on whole seconds of the monotonic clock, and seconds are cut a tenth before. How long a round took is told by the hub's
table: the ages of the topics' answers, and the age and duration of each heartbeat.
"""
import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOPICS, BROKERS = 200, 40


def loop_cpu_ns(pid):
    with open(f"/proc/{pid}/task/{pid}/schedstat") as f:
        return int(f.read().split()[0])


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return sum(int(n) for n in re.findall(r"^Rss(?:Anon|File):\s+(\d+)", f.read(), re.M))


def open_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Cluster:
    """devbroker, hub and one client with many topics, in a directory of their own."""

    def __init__(self, bin_dir, brokers, topics, settings, hub_prefix=()):
        self.bin = bin_dir
        self.temporary = tempfile.TemporaryDirectory(prefix="rmqhub-bench-")
        self.dir = self.temporary.name
        self.processes = []
        self.log = open(f"{self.dir}/log", "w")
        self.control = f"{self.dir}/control"
        broker = self.start([f"{bin_dir}/rmqhub-devbroker", "--port", "0", "--brokers", str(brokers), "--discard", "--no-log", "--control",
                             self.control], stdout=subprocess.PIPE, text=True)
        lines = [broker.stdout.readline().split() for _ in range(brokers + 1)]
        self.brokers = [line[1] for line in lines[1:]]
        for i in range(topics):
            self.command(f"topic t{i} 4")
        config = f"{self.dir}/conf"
        with open(config, "w") as f:
            f.write(f"[hub]\nlog_level = warn\n[cluster default]\nnamesrv_addr = {lines[0][1]}\n" +
                    "".join(f"{k} = {v}\n" for k, v in settings.items()))
        self.env = dict(os.environ, RMQHUB_RUNTIME_DIR=f"{self.dir}/run")
        self.hub = self.start([*hub_prefix, f"{bin_dir}/rmqhubd", "-c", config, "--runtime-dir", f"{self.dir}/run", "--state-dir",
                               f"{self.dir}/state"])
        self.wait(lambda: os.path.exists(f"{self.dir}/run/hub.sock"), "the hub")

    def start(self, args, **kwargs):
        process = subprocess.Popen(args, stdin=subprocess.PIPE, stderr=self.log, **kwargs)
        self.processes.append(process)
        return process

    def client(self, mode, count):
        return self.start([f"{self.bin}/bench_client", mode, str(count)], stdout=subprocess.PIPE, text=True, env=self.env)

    def wait(self, there, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not there():
            if self.hub.poll() is not None or time.monotonic() > deadline:
                with open(self.log.name) as f:
                    sys.exit(f"bench: waited for {what} in vain; {f.read()[-2000:]}")
            time.sleep(0.02)

    def command(self, text):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(self.control)
            peer.sendall(f"{text}\n".encode())
            answer = b""
            while not re.search(rb"^(ok|error.*)\n", answer, re.M):
                part = peer.recv(65536)
                if not part:
                    break
                answer += part
        if b"error" in answer:
            sys.exit(f"bench: devbroker: {text}: {answer.decode()}")
        return answer.decode()

    def rows(self, what):
        out = subprocess.run([f"{self.bin}/rmqhub", what, "--json", "--runtime-dir", f"{self.dir}/run"], capture_output=True, text=True, check=False)
        return json.loads(out.stdout)["items"] if out.returncode == 0 else []

    def close(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.log.close()
        self.temporary.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def latest_runs(cluster):
    """The whole second in which the route task and the heartbeat task last ran, as far as the table knows. Its ages count from
    its last writing, less than a second ago; so asked at the end of a second, they are right but for their fraction."""
    now = time.monotonic()
    runs = {row["task"]: int(now - row["last_run_age_ms"] / 1000) for row in cluster.rows("tasks") if row["runs"]}
    return runs.get("update topic routes", 0), next((at for task, at in runs.items() if "heartbeat" in task), 0)


def wait_for_cut():
    now = time.monotonic()
    at = int(now) + 0.9
    time.sleep((at if at > now + 0.05 else at + 1) - now)


def rounds(cluster, seconds, before_second=lambda second: None):
    """Median CPU in ms of a route round and of a heartbeat round, each beyond that of a quiet second."""
    windows, routes, heartbeats = [], set(), set()
    wait_for_cut()
    began, cpu = time.monotonic(), loop_cpu_ns(cluster.hub.pid)
    for second in range(seconds):
        before_second(second)
        wait_for_cut()
        now, now_cpu = time.monotonic(), loop_cpu_ns(cluster.hub.pid)
        windows.append((began, now, now_cpu - cpu))
        began, cpu = now, now_cpu
        for runs, at in zip((routes, heartbeats), latest_runs(cluster)):
            runs.add(at)
    costs = {(False, False): [], (True, False): [], (False, True): [], (True, True): []}
    for start, end, cost in windows[:-1]:  # the last may not be in the table yet
        costs[tuple(any(start < at <= end for at in runs) for runs in (routes, heartbeats))].append(cost)
    base = statistics.median(costs[False, False])
    return [(statistics.median(costs[kind]) - base) / 1e6 for kind in ((True, False), (False, True))]


def large_cluster(bin_dir, quick, row):
    with Cluster(bin_dir, BROKERS, TOPICS, {"poll_name_server_interval_ms": 4000, "heartbeat_broker_interval_ms": 6000}) as cluster:
        client = cluster.client("topics", TOPICS)
        client.stdout.readline()
        cluster.wait(lambda: len([r for r in cluster.rows("heartbeats") if r["ok"]]) == BROKERS, "heartbeats")
        seconds = 24 if quick else 60
        same, heartbeat = rounds(cluster, seconds)
        route_ages = [r["fetched_age_ms"] for r in cluster.rows("routes")]
        beats = [r for r in cluster.rows("heartbeats") if r["broker_id"] == 0]
        beat_ms = max(r["last_ok_age_ms"] for r in beats) - min(r["last_ok_age_ms"] for r in beats) + max(r["rt_us"] for r in beats) / 1000
        queues = [4]

        def change_all(second):
            if second % 4 == 0:
                queues[0] = 9 - queues[0]
                for i in range(TOPICS):
                    cluster.command(f"topic t{i} {queues[0]} 6 broker-b")
        changed, _ = rounds(cluster, seconds, change_all)
        row(f"route round, {len(route_ages)} topics on {BROKERS} brokers", max(route_ages) - min(route_ages), "ms", "<= 1000")
        row("  loop time, nothing changed", same, "ms", "< 20")
        row("  loop time, every route changed", changed, "ms", "")
        row(f"heartbeat round, {len(beats)} brokers", beat_ms, "ms", "<= 1000")
        row("  loop time", heartbeat, "ms", "< 20")


def objects(cluster):
    """What the hub says of its own objects, and the kernel of its descriptors."""
    cluster.wait(lambda: not cluster.rows("pending"), "all answers")
    counts = {what: len(cluster.rows(what)) for what in ("instances", "groups", "routes", "brokers", "connections", "tasks")}
    counts["descriptors"] = open_descriptors(cluster.hub.pid)
    return counts


class Flapping(threading.Thread):
    """Every 100 ms: other queues for every topic, and a broker that comes or goes."""

    def __init__(self, cluster, topics):
        super().__init__()
        self.cluster, self.topics, self.ends, self.flaps = cluster, topics, threading.Event(), 0

    def flap(self, queues, how):
        for i in range(self.topics):
            self.cluster.command(f"topic t{i} {queues}")
        self.cluster.command(f"route {how} {self.cluster.brokers[-1]}")

    def run(self):
        while not self.ends.wait(0.1):
            self.flaps += 1
            self.flap(4 + self.flaps % 5, "off" if self.flaps % 2 else "on")
        self.flap(4, "on")


def flapping_routes(bin_dir, quick, row):
    seconds, warm_up, topics = (20, 5, 10) if quick else (60, 15, 10)
    with Cluster(bin_dir, 3, topics, {"poll_name_server_interval_ms": 100, "heartbeat_broker_interval_ms": 1000}) as cluster:
        client = cluster.client("topics", topics)
        client.stdout.readline()
        time.sleep(3)
        before = objects(cluster)
        flapping = Flapping(cluster, topics)
        flapping.start()
        time.sleep(warm_up)
        warm = rss_kib(cluster.hub.pid)
        time.sleep(seconds - warm_up)
        changes = sum(r["changes"] for r in cluster.rows("routes"))
        flapping.ends.set()
        flapping.join()
        time.sleep(5)
        grown = rss_kib(cluster.hub.pid) - warm
        after = objects(cluster)
        different = [f"{what} {before[what]} -> {after[what]}" for what in before if before[what] != after[what]]
        row(f"routes flap every 100 ms for {seconds} s: changes seen", changes, "", "")
        row("  descriptors and objects that differ afterwards", len(different), " ".join(different), "0")
        row("  RSS growth after warm-up", grown, "KiB", "<= 512")


def killed_broker(bin_dir, quick, row):
    times = []
    for _ in range(3 if quick else 9):
        with Cluster(bin_dir, 1, 0, {}) as cluster:
            client = cluster.client("lost", 200)
            cluster.wait(lambda: any(r["ok"] for r in cluster.rows("heartbeats")), "a heartbeat")
            client.stdout.readline()
            cluster.command("fault send no-reply")
            client.stdin.close()
            client.stdout.readline()
            cluster.wait(lambda: len(cluster.rows("pending")) >= 200, "200 pending requests")
            killed = time.monotonic_ns()
            cluster.processes[0].kill()
            times.append((json.loads(client.stdout.readline())["last_answer_ns"] - killed) / 1e6)
    row("broker killed, 200 requests pending: all answered after", statistics.median(times), "ms", "in the turn that reads the reset")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin_dir")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("large_cluster", "flapping_routes", "killed_broker"))
    args = parser.parse_args()
    for bench in (large_cluster, flapping_routes, killed_broker):
        if args.only in (None, bench.__name__):
            bench(args.bin_dir, args.quick, lambda name, value, unit, bar: print(f"{name:<60} {value:>10.2f} {unit:<10} {bar}", flush=True))


if __name__ == "__main__":
    main()
