#!/usr/bin/env python3
"""Runs the test of each row of the client against its mutants: the same program in which one function does nothing and
returns 0. A test that passes all the same tests something else. Exit status 1 when a mutant survives, when its stub is
never called (then nothing was shown), when a row has no mutant, or when a test fails without any mutant.

usage: mutate.py LIST [ROW...]        LIST: mutants.txt of a build tree whose target `mutants` was built
       mutate.py LIST --self-test"""
import collections
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

ROWS = [f"{number:02}" for number in range(1, 19)]
SELF_TEST = "self-test"
LEAST_SECONDS = 5  # before a mutant counts as hanging; the tests' clock is their own, so they are fast
LIMITED = ["prlimit", f"--as={1 << 30}", f"--fsize={16 << 20}", "--core=0", "--"]

Mutant = collections.namedtuple("Mutant", "row function test program")
Run = collections.namedtuple("Run", "how seconds called")  # how: None, or what ended it badly
Verdict = collections.namedtuple("Verdict", "kind text")  # kind: killed, survived, error


def read_list(path):
    with open(path, encoding="utf-8") as file:
        return [Mutant(*line.rstrip("\n").split("\t")) for line in file if line.strip()]


def failed_test(path):
    """The first test that the program has reported as failed, or None."""
    with open(path, encoding="utf-8", errors="replace") as output:
        failed = re.search(r"^\[  FAILED  \] (\w+)$", output.read(), re.MULTILINE)
    return failed[1] if failed else None


def watch(process, output_path, limit_seconds):
    """What ended the program badly, or None. One failed test is enough: the others are not waited for."""
    deadline = time.monotonic() + limit_seconds
    while time.monotonic() < deadline:
        try:
            status = process.wait(0.1)
        except subprocess.TimeoutExpired:
            failed = failed_test(output_path)
            if failed:
                return failed
            continue
        if status == 0:
            return None
        return failed_test(output_path) or (signal.Signals(-status).name if status < 0 else f"exit status {status}")
    return f"time-out after {limit_seconds:.0f} s"


def run(program, limit_seconds):
    """In an empty folder, with what it starts in a group of its own that goes with it."""
    with tempfile.TemporaryDirectory(prefix="rmqhub-mutate-") as folder:
        called, output_path = os.path.join(folder, "called"), os.path.join(folder, "output")
        start = time.monotonic()
        with open(output_path, "wb") as output:
            process = subprocess.Popen([*LIMITED, program], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                       env=dict(os.environ, RMQHUB_MUTANT_CALLED=called), start_new_session=True)
            how = watch(process, output_path, limit_seconds)
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        return Run(how, time.monotonic() - start, os.path.exists(called))


def has_stub(mutant):
    """The stub stands in an archive: the linker took it only if a call was led to it."""
    names = subprocess.run(["nm", mutant.program], check=True, stdout=subprocess.PIPE, text=True).stdout
    return f" __wrap_{mutant.function}\n" in names


def judge(mutant, limit_seconds):
    if not has_stub(mutant):
        return Verdict("error", "no other file calls it, so no call could be led to the stub")
    result = run(mutant.program, limit_seconds)
    if not result.called:
        return Verdict("error", "the stub was never called" + (f"; yet {result.how}" if result.how else ""))
    return Verdict("killed", result.how) if result.how else Verdict("survived", "the test passes without it")


def judge_all(mutants, limit_of):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda mutant: judge(mutant, limit_of[mutant.test]), mutants))


def run_tests(tests):
    """Time limit for the mutants of each test, and what is wrong with the tests as they are."""
    limit_of, wrong = {}, []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda test: run(test, 60), tests))
    for test, result in zip(tests, results):
        limit_of[test] = max(LEAST_SECONDS, 4 * result.seconds)
        if result.how:
            wrong.append(f"{os.path.basename(test)} fails without a mutant: {result.how}")
    return limit_of, wrong


def missing_rows(mutants, wanted):
    have = {mutant.row for mutant in mutants}
    return [f"row {row} has no mutant" for row in wanted if row not in have]


def mutate(mutants, wanted):
    mutants = sorted(mutant for mutant in mutants if mutant.row in wanted)
    wrong = missing_rows(mutants, wanted)
    limit_of, failing = run_tests(sorted({mutant.test for mutant in mutants}))
    wrong += failing
    verdicts = judge_all(mutants, limit_of)
    for mutant, verdict in zip(mutants, verdicts):
        print(f"{mutant.row}  {mutant.function:<56} {verdict.kind:<8} {verdict.text}")
    for line in wrong:
        print(f"mutate: {line}")
    count = collections.Counter(verdict.kind for verdict in verdicts)
    print(f"mutate: {len({mutant.row for mutant in mutants})} rows, {len(mutants)} mutants: {count['killed']} killed, "
          f"{count['survived']} survived, {count['error']} in error; {len(wrong)} other findings")
    return bool(wrong) or count["killed"] != len(mutants)


def self_test(mutants):
    """Each kind of mutant that there can be, told from the others."""
    mutants = [mutant for mutant in mutants if mutant.row == SELF_TEST]
    wanted = {"subject_looked_at": "killed", "subject_unnoticed": "survived", "subject_uncalled": "error", "subject_private": "error",
              "subject_awaited": "killed", "subject_enough": "killed"}
    limit_of, failing = run_tests({mutant.test for mutant in mutants})
    got = {mutant.function: verdict.kind for mutant, verdict in zip(mutants, judge_all(mutants, dict.fromkeys(limit_of, 2)))}
    cases = [("verdicts", wanted, got), ("the test as it is", [], failing),
             ("a test that fails as it is", 1, len(run_tests(["/bin/false"])[1])),
             ("rows without a mutant", ["row 02 has no mutant"], missing_rows([Mutant("01", "f", "t", "p")], ["01", "02"]))]
    wrong = [f"mutate self-test: {name}: wanted {want!r}, got {have!r}" for name, want, have in cases if want != have]
    print("\n".join(wrong + [f"mutate self-test: {len(cases)} looked at, {len(wrong)} findings"]))
    return bool(wrong)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    mutants = read_list(sys.argv[1])
    if sys.argv[2:] == ["--self-test"]:
        return self_test(mutants)
    wanted = [row.zfill(2) for row in sys.argv[2:]] or ROWS
    unknown = [row for row in wanted if row not in ROWS]
    if unknown:
        sys.exit(f"mutate: there is no row {unknown[0]}; rows are {ROWS[0]} to {ROWS[-1]}")
    return mutate(mutants, wanted)


if __name__ == "__main__":
    sys.exit(main())
