#!/usr/bin/env python3
"""The benches of ./dev bench: runs hub, devbroker and clients, prints a table and JSON.

  bench.py BIN_DIR [--json FILE] [--rounds N] [--quick] [--no-callgrind]

Every figure is the median of the rounds. CPU time of the hub is its own rusage (/proc/PID/stat is too coarse,
so it is read from /proc/PID/schedstat, in nanoseconds). Instructions come from callgrind, as the difference of
two runs, so that the start does not count. Nothing here passes or fails: bars stand beside the figures.
"""
import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import routes
import start

CLIENTS = 4
WINDOW_TOTAL = 512


def hub_cpu_ns(pid):
    """CPU of all threads, in ns."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def status_kib(pid, key, path="status"):
    with open(f"/proc/{pid}/{path}") as f:
        m = re.search(rf"^{key}:\s+(\d+)", f.read(), re.M)
    return int(m.group(1)) if m else 0


def meminfo_kib(key):
    with open("/proc/meminfo") as f:
        return int(re.search(rf"^{key}:\s+(\d+)", f.read(), re.M).group(1))


class Stage:
    """One devbroker and one hub in a directory of their own."""

    def __init__(self, bin_dir, hub_prefix=(), broker_flags=("--discard",)):
        self.bin, self.dir = bin_dir, tempfile.mkdtemp(prefix="rmqhub-bench-")
        self.env = dict(os.environ, RMQHUB_RUNTIME_DIR=f"{self.dir}/run")
        self.log = open(f"{self.dir}/log", "w")
        self.broker = subprocess.Popen([f"{bin_dir}/rmqhub-devbroker", "--port", "0", *broker_flags], stdout=subprocess.PIPE, text=True,
                                       stderr=self.log)
        self.namesrv = self.broker_address = None
        while self.broker_address is None:
            words = self.broker.stdout.readline().split()
            if not words:
                sys.exit("bench: devbroker did not start; see " + self.log.name)
            if words[0] == "nameserver":
                self.namesrv = words[1]
            elif words[0] == "broker":
                self.broker_address = words[2]
        self.hub = subprocess.Popen([*hub_prefix, f"{bin_dir}/rmqhubd", "--namesrv", self.namesrv, "--runtime-dir", f"{self.dir}/run",
                                     "--state-dir", f"{self.dir}/state"], stderr=self.log)
        deadline = time.monotonic() + 60
        while not os.path.exists(f"{self.dir}/run/hub.sock"):
            if self.hub.poll() is not None or time.monotonic() > deadline:
                sys.exit("bench: the hub did not start; see " + self.log.name)
            time.sleep(0.02)

    def client(self, *args, **kwargs):
        return subprocess.Popen([f"{self.bin}/bench_client", *map(str, args)], env=self.env, stdout=subprocess.PIPE, text=True, **kwargs)

    def run_clients(self, count, *args):
        began = time.monotonic()
        clients = [self.client(*args) for _ in range(count)]
        out = [json.loads(c.communicate()[0]) for c in clients]
        if any(c.returncode for c in clients):
            sys.exit("bench: a client failed; see " + self.log.name)
        return out, time.monotonic() - began

    def close(self):
        self.hub.send_signal(signal.SIGTERM)
        self.hub.wait(timeout=60)
        self.broker.kill()
        self.broker.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def median(values):
    return statistics.median(values)


def cpu_per_message(stage, rounds, mode, count, *extra):
    per_message, rates, clients = [], [], []
    stage.run_clients(1, mode, 2000, *extra)  # warm: route, connection, memory
    for _ in range(rounds):
        before = hub_cpu_ns(stage.hub.pid)
        out, _ = stage.run_clients(CLIENTS, mode, count, *extra)
        per_message.append((hub_cpu_ns(stage.hub.pid) - before) / (count * CLIENTS))
        rates.append(sum(o["count"] / o["seconds"] for o in out))
        clients += [o["client_cpu_ns"] for o in out]
    return median(per_message), median(rates), median(clients)


def latency(stage, rounds, count):
    p50, p99 = [], []
    for _ in range(rounds):
        out, _ = stage.run_clients(1, "sync", count)
        p50.append(out[0]["p50_us"])
        p99.append(out[0]["p99_us"])
    return median(p50), median(p99)


def raw_sender(stage, rounds, count, window):
    out = []
    for _ in range(rounds):
        p = subprocess.run([f"{stage.bin}/rmqhub-raw-sender", "--broker", stage.broker_address, "--count", str(count), "--window",
                            str(window), "--header", "binary", "--json"], capture_output=True, text=True, check=True)
        out.append(json.loads(p.stdout))
    return {key: median([o[key] for o in out]) for key in ("rate", "p50_us", "p99_us", "cpu_ns")}


def first_send(stage, rounds):
    return median([stage.run_clients(1, "first", 1)[0][0]["first_ms"] for _ in range(max(rounds, 9))])


def idle(stage, attached, seconds):
    shmem = meminfo_kib("Shmem")
    clients = []
    private = []
    for _ in range(attached):
        c = stage.client("idle", 1, stdin=subprocess.PIPE)
        private.append(json.loads(c.stdout.readline())["private_kib"])
        clients.append(c)
    shared_each = (meminfo_kib("Shmem") - shmem) / attached
    time.sleep(2)
    pid = stage.hub.pid
    cpu, switches = hub_cpu_ns(pid), status_kib(pid, "voluntary_ctxt_switches")
    time.sleep(seconds)
    cpu, switches = hub_cpu_ns(pid) - cpu, status_kib(pid, "voluntary_ctxt_switches") - switches
    rss_anon = status_kib(pid, "RssAnon") + status_kib(pid, "RssFile")
    for c in clients:
        c.stdin.close()
    for c in clients:
        c.wait()
    return {"shared_kib_per_client": shared_each, "private_kib_per_client": median(private), "wakeups_per_s": switches / seconds,
            "cpu_percent": cpu / seconds / 1e7, "hub_rss_kib": rss_anon}


def callgrind_total(bin_dir, mode, count, extra):
    out = tempfile.mktemp(prefix="rmqhub-callgrind-")
    stage = Stage(bin_dir, ("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--quiet"))
    stage.run_clients(CLIENTS, mode, count, *extra)
    stage.close()
    with open(out) as f:
        total = int(re.search(r"^(?:summary|totals): (\d+)", f.read(), re.M).group(1))
    os.unlink(out)
    return total


def instructions(bin_dir, mode, low, high, *extra):
    """Of the hub, per message: the difference of two runs."""
    return (callgrind_total(bin_dir, mode, high, extra) - callgrind_total(bin_dir, mode, low, extra)) / ((high - low) * CLIENTS)


def ring(bin_dir, rounds):
    return median([json.loads(subprocess.run([f"{bin_dir}/bench_ring"], capture_output=True, text=True, check=True).stdout)
                   ["ns_per_round_trip"] for _ in range(rounds)])


def machine():
    model = "?"
    with open("/proc/cpuinfo") as f:
        m = re.search(r"^model name\s*:\s*(.+)$", f.read(), re.M)
        model = m.group(1) if m else model
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()[0],
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def measure(args):
    rounds, scale = args.rounds, 10 if args.quick else 1
    rows = []

    def row(name, value, unit, bar=""):
        rows.append({"name": name, "value": round(value, 2), "unit": unit, "bar": bar})
        print(f"{name:<58} {value:>12.1f} {unit:<10} {bar}", flush=True)

    where = machine()
    print(f"{where['cpu']}, {where['cores']} cores, Linux {where['kernel']}, load {where['load']:.1f}, median of {rounds}")
    row("ring round trip, no wake-up", ring(args.bin_dir, rounds), "ns")
    stage = Stage(args.bin_dir)
    each = WINDOW_TOTAL // CLIENTS
    hub_async, async_rate, client_async = cpu_per_message(stage, rounds, "async", 200000 // scale, each)
    row("hub CPU per message, async, 4 processes, 512 in flight", hub_async, "ns", "<= 1500")
    row("  client CPU per message, async", client_async, "ns")
    row("  messages per second, async", async_rate, "/s")
    hub_sync, sync_rate, client_sync = cpu_per_message(stage, rounds, "sync", 20000 // scale)
    row("hub CPU per message, sync, 4 processes", hub_sync, "ns", "<= 6000")
    row("  client CPU per message, sync", client_sync, "ns")
    row("  messages per second, sync", sync_rate, "/s")
    p50, p99 = latency(stage, rounds, 10000 // scale)
    bare = raw_sender(stage, rounds, 10000 // scale, 1)
    row("sync send through the hub, p50", p50, "us", f"<= {bare['p50_us'] + 80:.0f} (bare + 80)")
    row("  p99", p99, "us")
    row("same request on a bare socket, p50", bare["p50_us"], "us")
    row("  p99", bare["p99_us"], "us")
    blast = raw_sender(stage, rounds, 1000000 // scale, WINDOW_TOTAL)
    row("raw sender, prepared frames, 512 in flight", blast["rate"], "/s", f">= {2 * async_rate:.0f} (2 x hub)")
    row("attach to first SEND_OK, warm hub", first_send(stage, rounds), "ms", "<= 5")
    stage.close()
    stage = Stage(args.bin_dir)
    at_rest = idle(stage, 20 if args.quick else 200, 5 if args.quick else 20)
    row("shared memory per attached idle process", at_rest["shared_kib_per_client"], "KiB")
    row("private memory per attached idle process", at_rest["private_kib_per_client"], "KiB",
        "both: <= 2048")
    row("hub wake-ups, 200 attached and idle", at_rest["wakeups_per_s"], "/s", "<= 4")
    row("hub CPU, 200 attached and idle", at_rest["cpu_percent"], "%", "<= 0.3")
    row("hub RSS beside table and segments", at_rest["hub_rss_kib"], "KiB", "<= 24576")
    stage.close()
    start.without_nameservers(args.bin_dir, rounds, row)
    routes.large_cluster(args.bin_dir, args.quick, row)
    routes.flapping_routes(args.bin_dir, args.quick, row)
    routes.killed_broker(args.bin_dir, args.quick, row)
    if not args.no_callgrind and shutil.which("valgrind"):
        row("hub instructions per message, async", instructions(args.bin_dir, "async", 5000, 15000, each), "instr")
        row("hub instructions per message, sync", instructions(args.bin_dir, "sync", 1000, 3000), "instr")
    else:
        print("callgrind: not run (valgrind is missing or --no-callgrind was given)")
    return {"machine": where, "rounds": rounds, "rows": rows}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin_dir")
    parser.add_argument("--json", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages: to see that it runs, not to measure")
    parser.add_argument("--no-callgrind", action="store_true")
    args = parser.parse_args()
    result = measure(args)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(result, f, indent=1)
        print("JSON:", args.json)


if __name__ == "__main__":
    main()
