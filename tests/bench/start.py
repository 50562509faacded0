"""Bench of a hub's start while every nameserver is down: from the start of its process to the first STORED, by the kept route.
For bench.py; alone: start.py BIN_DIR. The figure includes the start of a client process, which comes as soon as the socket is there."""
import argparse
import os
import signal
import statistics
import subprocess
import time

import routes


def hub_command(cluster):
    return [f"{cluster.bin}/rmqhubd", "-c", f"{cluster.dir}/conf", "--runtime-dir", f"{cluster.dir}/run", "--state-dir", f"{cluster.dir}/state"]


def send_one(cluster):
    subprocess.run([f"{cluster.bin}/bench_client", "first", "1"], env=cluster.env, stdout=subprocess.DEVNULL, check=True)


def stop_hub(cluster, sig):
    cluster.hub.send_signal(sig)
    cluster.hub.wait()


def first_stored_ms(cluster):
    socket = f"{cluster.dir}/run/hub.sock"
    if os.path.exists(socket):
        os.unlink(socket)
    began = time.monotonic()
    cluster.hub = cluster.start(hub_command(cluster))
    while not os.path.exists(socket):
        if cluster.hub.poll() is not None:
            raise SystemExit(f"bench: the hub did not start; see {cluster.log.name}")
        time.sleep(0.0005)
    send_one(cluster)
    took = (time.monotonic() - began) * 1000
    cluster.wait(lambda: "cache" in (row["source"] for row in cluster.rows("routes")), "a route from the cache", 5)
    return took


def without_nameservers(bin_dir, rounds, row):
    with routes.Cluster(bin_dir, 1, 0, {}) as cluster:
        send_one(cluster)
        stop_hub(cluster, signal.SIGTERM)  # what is kept is in the file
        for state, commands in (("refuse", ["listen off nameserver", "disconnect nameserver"]),
                                ("are silent", ["listen on nameserver", "fault route no-reply"])):
            for command in commands:
                cluster.command(command)
            times = []
            for _ in range(max(rounds, 5)):
                times.append(first_stored_ms(cluster))
                stop_hub(cluster, signal.SIGKILL)
            row(f"start to first STORED, nameservers that {state}", statistics.median(times), "ms", "<= 100")
            row("  slowest", max(times), "ms")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin_dir")
    without_nameservers(parser.parse_args().bin_dir, 9, lambda name, value, unit, bar="": print(f"{name:<58} {value:>12.1f} {unit:<10} {bar}"))


if __name__ == "__main__":
    main()
