"""Runs every check against every server that was asked for, and says at the end what held where.

Started by run.sh, which brings jars and compiled classes. Each check is a module check_NAME.py with a TITLE and a
run(bench); the bench has a fresh server's face, the Java peer, the hub, and a folder for logs and ledgers."""

import argparse
import pathlib
import shutil
import signal
import sys
import time
import traceback

import check_hub_killed
import check_java_peer
import check_many_producers
import check_producer_restart
from java_peer import JavaPeer
from processes import CheckFailed
from servers import DevBroker, RealServers

CHECKS = {
    "java_peer": check_java_peer,
    "many_producers": check_many_producers,
    "producer_restart": check_producer_restart,
    "hub_killed": check_hub_killed,
}


class Bench:
    """What one check works with."""

    def __init__(self, server, java, bin_dir, work_dir):
        self.server = server
        self.java = java
        self.bin_dir = bin_dir
        self.work_dir = work_dir


def run_check(name, server, java, bin_dir, work_dir):
    """True when the check held."""
    module = CHECKS[name]
    shutil.rmtree(work_dir, ignore_errors=True)
    work_dir.mkdir(parents=True)
    print(f"   {name}: {module.TITLE}", flush=True)
    started = time.monotonic()
    try:
        module.run(Bench(server, java, bin_dir, work_dir))
        held = True
    except CheckFailed as failure:
        print(f"      FAILED: {failure}\n      logs and ledgers: {work_dir}", flush=True)
        held = False
    except Exception:   # a bug in a check must not hide what the others find
        traceback.print_exc()
        held = False
    print(f"   {name}: {'ok' if held else 'FAILED'}, {time.monotonic() - started:.1f} s", flush=True)
    return held


def run_server(server, names, java, bin_dir, work_dir):
    """Runs the named checks against one server; returns {name: held}."""
    started = time.monotonic()
    print(f"== {server.name}", flush=True)
    try:
        server.start()
        print(f"   up in {time.monotonic() - started:.1f} s: nameserver {server.namesrv}", flush=True)
        return {name: run_check(name, server, java, bin_dir, work_dir / name) for name in names}
    except (CheckFailed, OSError) as failure:
        print(f"   FAILED: {failure}", flush=True)
        return {name: False for name in names}
    finally:
        server.stop()


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/real/run.sh")
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--classes", type=pathlib.Path, required=True)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--jars", action="append", default=[], metavar="VERSION=DIRECTORY")
    parser.add_argument("--only", action="append", choices=sorted(CHECKS), help="run this check alone (may be repeated)")
    parser.add_argument("servers", nargs="+")
    return parser.parse_args()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    args = parse_arguments()
    jars = dict(pair.split("=", 1) for pair in args.jars)
    work = args.work.resolve()
    bin_dir = args.build.resolve() / "bin"
    shutil.rmtree(work / "mqadmin", ignore_errors=True)
    java = JavaPeer(jars[args.reference], args.classes.resolve(), work)
    names = [name for name in CHECKS if not args.only or name in args.only]
    started = time.monotonic()
    results = {}
    for wanted in args.servers:
        server = DevBroker(bin_dir, work / "devbroker.out") if wanted == "devbroker" else RealServers(wanted, jars[wanted])
        results[server.name] = run_server(server, names, java, bin_dir, work / wanted)

    print(f"== {'server':<20}" + "".join(f"{name:<20}" for name in names))
    for server_name, held in results.items():
        print(f"   {server_name:<20}" + "".join(f"{'ok' if held[name] else 'FAILED':<20}" for name in names))
    failed = sum(not ok for held in results.values() for ok in held.values())
    passed = sum(len(held) for held in results.values()) - failed
    print(f"{passed} passed, {failed} failed, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
