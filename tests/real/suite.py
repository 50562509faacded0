"""Runs every check against every server that was asked for, and says at the end what held where.

Started by run.sh, which brings jars and compiled classes. Each check is a module check_NAME.py with a TITLE and a
run(bench); the bench has the server, the Java peer, the programs under test and a folder for logs and ledgers."""

import argparse
import pathlib
import shutil
import signal
import sys
import time
import traceback

for folder in ("support", "conformance"):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / folder))

import check_acl
import check_broker_restart
import check_conformance
import check_duplicate_client_id
import check_first_message
import check_hub_killed
import check_java_consumers
import check_java_peer
import check_long_connection
import check_many_producers
import check_modes
import check_producer_restart
import check_registration
import check_servers_killed
import check_stored_routes
import check_tls
from java_peer import JavaPeer
from processes import CheckFailed
from servers import DevBroker, RealServers

CHECKS = {
    "java_peer": check_java_peer,
    "java_consumers": check_java_consumers,
    "first_message": check_first_message,
    "modes": check_modes,
    "many_producers": check_many_producers,
    "producer_restart": check_producer_restart,
    "registration": check_registration,
    "conformance": check_conformance,         # before the checks that kill or freeze servers
    "duplicate_client_id": check_duplicate_client_id,
    "acl": check_acl,                         # this one and the next two bring their own servers
    "tls": check_tls,
    "servers_killed": check_servers_killed,
    "hub_killed": check_hub_killed,
    "stored_routes": check_stored_routes,
    "long_connection": check_long_connection,
    "broker_restart": check_broker_restart,   # last: it ends every connection
}


class Bench:
    """What one check works with."""

    def __init__(self, server, java, bin_dir, work_dir):
        self.server = server
        self.java = java
        self.bin_dir = bin_dir
        self.work_dir = work_dir
        self.background = None   # what the check's start() left running, if it has one
        shutil.rmtree(work_dir, ignore_errors=True)
        work_dir.mkdir(parents=True)


def attempt(bench, step):
    """Runs one step of a check; None when it failed, and then the reason has been printed."""
    try:
        return step(bench) or True
    except CheckFailed as failure:
        print(f"      FAILED: {failure}\n      logs and ledgers: {bench.work_dir}", flush=True)
    except Exception:   # a bug in a check must not hide what the others find
        traceback.print_exc()
    return None


def run_check(name, bench):
    """True when the check held."""
    print(f"   {name}: {CHECKS[name].TITLE}", flush=True)
    started = time.monotonic()
    held = attempt(bench, CHECKS[name].run) is not None
    print(f"   {name}: {'ok' if held else 'FAILED'}, {time.monotonic() - started:.1f} s", flush=True)
    return held


def run_checks(benches):
    """Runs the checks in their order. Those that watch something for minutes start it before the first."""
    results = {}
    try:
        for name, bench in benches.items():
            if hasattr(CHECKS[name], "start"):
                bench.background = attempt(bench, CHECKS[name].start)
        for name, bench in benches.items():
            results[name] = bench.background is not None or not hasattr(CHECKS[name], "start")
            results[name] = results[name] and run_check(name, bench)
    finally:
        for bench in benches.values():
            if bench.background is not None:
                bench.background.stop()
    return results


def concerns(module, server):
    """Checks may be meant for real servers only, or for those of one version."""
    real = isinstance(server, RealServers)
    return getattr(module, "ONLY", None) in (None, getattr(server, "version", "")) and (real or not getattr(module, "REAL_SERVERS_ONLY", False))


def run_server(server, names, java, bin_dir, work_dir):
    """Runs the named checks, as far as they concern this server; returns {name: held}."""
    names = [n for n in names if concerns(CHECKS[n], server)]
    started = time.monotonic()
    print(f"== {server.name}", flush=True)
    try:
        with server:
            print(f"   up in {time.monotonic() - started:.1f} s: nameserver {server.namesrv}", flush=True)
            return run_checks({name: Bench(server, java, bin_dir, work_dir / name) for name in names})
    except (CheckFailed, OSError) as failure:
        print(f"   FAILED: {failure}", flush=True)
        return dict.fromkeys(names, False)


def print_table(names, results):
    words = {True: "ok", False: "FAILED", None: "-"}
    print(f"== {'server':<16}" + "".join(f"{name:<21}" for name in names))
    for server_name, held in results.items():
        print(f"   {server_name:<16}" + "".join(f"{words[held.get(name)]:<21}" for name in names))


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
        server = DevBroker(bin_dir) if wanted == "devbroker" else RealServers(wanted, jars[wanted])
        results[server.name] = run_server(server, names, java, bin_dir, work / wanted)

    print_table(names, results)
    failed = sum(not ok for held in results.values() for ok in held.values())
    passed = sum(len(held) for held in results.values()) - failed
    print(f"{passed} passed, {failed} failed, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
