"""Child processes that never outlive the run: every one dies with this process, and its output goes to a file."""

import ctypes
import os
import signal
import socket
import subprocess
import time

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class CheckFailed(Exception):
    """A check did not hold; the text says what was compared, with numbers."""


def check(held, what):
    """Prints one checked fact with its numbers, and ends the check when it does not hold."""
    print(f"      {'ok ' if held else 'NOT'} {what}", flush=True)
    if not held:
        raise CheckFailed(what)


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(argv, log_path, env=None):
    """Starts argv with its output appended to log_path. The child is killed when this process dies, however it dies."""
    with open(log_path, "ab") as log:
        return subprocess.Popen(
            [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_die_with_parent,
            env={**os.environ, **(env or {})})


def stop(process, timeout_s=10):
    """SIGTERM, then SIGKILL when that is not enough. Accepts None and the already dead."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(argv, timeout_s=60, env=None):
    """Runs argv to its end and returns the CompletedProcess with text output."""
    return subprocess.run(
        [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=timeout_s, preexec_fn=_die_with_parent, env={**os.environ, **(env or {})})


def wait_until(condition, timeout_s, what, every_s=0.05):
    """Waits until condition() is true and returns its value; what completes the sentence 'timed out waiting for'."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise CheckFailed(f"timed out after {timeout_s} s waiting for {what}")
        time.sleep(every_s)


def tail(path, lines=15):
    """The last lines of a log, for error messages."""
    try:
        with open(path, errors="replace") as file:
            return "".join(file.readlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"


def free_ports(distances):
    """A port p such that p+d is free for each d in distances, below the range that the kernel hands out by itself."""
    for base in range(20000 + os.getpid() % 4000, 32000, 11):
        sockets = []
        try:
            for distance in distances:
                s = socket.socket()
                sockets.append(s)
                s.bind(("0.0.0.0", base + distance))
            return base
        except OSError:
            continue
        finally:
            for s in sockets:
                s.close()
    raise CheckFailed("no free ports between 20000 and 32000")
