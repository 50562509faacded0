#!/usr/bin/env python3
"""clang-tidy, cppcheck and gcc -fanalyzer over our own sources: no finding that suppressions.txt does not name. Rows
there that nothing needs any more are listed.

What a tool said about a file is kept under the hash of what it looked at (the preprocessed text, the tool, its
options), so that a second run costs what changed."""
import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time

import sources
import suppressions

# No finding in system headers; one form of line for all three tools.
FINDING = re.compile(r"^(?P<path>[^\s:]+):(?P<line>\d+):(?:\d+:)? (?:warning|error): (?P<message>.*) \[(?P<check>[^\]]+)\]$")
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "rmqhub-analyze")
CPPCHECK = ["--quiet", "--std=c11", "--language=c", "--enable=warning,style,performance,portability", "--inconclusive",
            "--suppress=missingIncludeSystem", "--max-ctu-depth=0", "--template={file}:{line}:{column}: warning: {message} [{id}]"]

Unit = collections.namedtuple("Unit", "path flags")


def compile_units(build_dir):
    with open(os.path.join(build_dir, "compile_commands.json"), encoding="utf-8") as file:
        entries = json.load(file)
    units = {}
    for entry in entries:
        path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), sources.ROOT)
        if not path.startswith(("..", "build/")):
            units[path] = Unit(path, flags_of(entry["command"]))
    return [units[path] for path in sorted(units)]


def flags_of(command):
    """What decides the meaning of the source: definitions, folders, the language. Warnings are the tools' own matter."""
    words, flags = shlex.split(command), []
    for at, word in enumerate(words):
        if word.startswith(("-D", "-I", "-std=")):
            flags.append(word)
        elif word in ("-isystem", "-include"):
            flags += [word, words[at + 1]]
    return flags


def run(command):
    done = subprocess.run(command, cwd=sources.ROOT, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    if done.returncode < 0:  # killed: it has not said that anything is clean
        sys.exit(f"analyze: signal {-done.returncode} ended {shlex.join(command)}")
    return done.returncode, done.stdout


def version_of(program):
    return run([program, "--version"])[1]


def clang_tidy(unit):
    return run(["clang-tidy", "--quiet", unit.path, "--", *unit.flags, "-Wall", "-Wextra"])[1]


def cppcheck(unit):
    flags = [flag for flag in unit.flags if flag.startswith(("-D", "-I"))]
    return run(["cppcheck", *CPPCHECK, "-D__GNUC__=12", *flags, unit.path])[1]


def fanalyzer(unit):
    # No -O: the optimiser removes what is wrong before the analyser sees it.
    return run(["gcc", "-fanalyzer", "-fdiagnostics-plain-output", "-c", "-o", "/dev/null", *unit.flags, unit.path])[1]


TOOLS = {
    "clang-tidy": (clang_tidy, "clang-tidy", ".clang-tidy"),
    "cppcheck": (cppcheck, "cppcheck", None),
    "fanalyzer": (fanalyzer, "gcc", None),
}


def cache_path(tool, unit, preprocessed):
    _, program, config = TOOLS[tool]
    parts = [tool, version_of(program), sources.read(config) if config else "", sources.read("tests/lint/analyze.py"), unit.path, preprocessed]
    return os.path.join(CACHE, hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest())


def report_of(tool, unit):
    """What the tool says about the file, from the cache where that is known."""
    status, preprocessed = run(["gcc", "-E", "-P", "-dD", *unit.flags, unit.path])
    path = cache_path(tool, unit, preprocessed) if status == 0 else None
    if path and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            return file.read(), 0.0
    start = time.monotonic()
    report = TOOLS[tool][0](unit)
    if path:
        os.makedirs(CACHE, exist_ok=True)
        with open(f"{path}.{os.getpid()}.{hash(unit.path)}", "w", encoding="utf-8") as file:
            file.write(report)
        os.replace(file.name, path)
    return report, time.monotonic() - start


def findings_in(report):
    for line in report.splitlines():
        match = FINDING.match(line)
        if match:
            path = os.path.relpath(os.path.join(sources.ROOT, match["path"]), sources.ROOT)
            if not path.startswith(("..", "build/")):
                yield path, int(match["line"]), match["message"], match["check"].split(",")[0].lstrip("-")


def broken(report):
    """A tool that could not read the file has not said that it is clean."""
    return [line for line in report.splitlines() if re.search(r"fatal error|clang-diagnostic-error|syntaxError|internalAstError", line)]


def analyse(tools, units):
    """Yields (tool, path, line, message, check) once each, and prints each tool's time."""
    seen = set()
    for tool in tools:
        start, fresh = time.monotonic(), 0
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for unit, (report, seconds) in zip(units, pool.map(lambda unit, tool=tool: report_of(tool, unit), units)):
                fresh += seconds > 0
                for line in broken(report):
                    yield tool, unit.path, 0, line, "unreadable"
                for finding in findings_in(report):
                    if (tool, *finding) not in seen:
                        seen.add((tool, *finding))
                        yield (tool, *finding)
        print(f"{tool}: {len(units)} files, {fresh} not known from an earlier run, {time.monotonic() - start:.0f} s", flush=True)


BAD_CODE = """#include <stdlib.h>
int first(const int *list);
int first(const int *list)
{
    int *copy = malloc(sizeof(int));
    *copy = list[0];
    if (list == NULL)
        return sizeof(list) / sizeof(list[0]);
    return *copy;
}
"""


def run_self_test():
    """Each tool must say something about code that is plainly wrong."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bad.c")
        with open(path, "w", encoding="utf-8") as file:
            file.write(BAD_CODE)
        unit = Unit(path, ["-std=c11"])
        sources.self_test("analyze", [(tool, True, any(map(FINDING.match, TOOLS[tool][0](unit).splitlines()))) for tool in TOOLS])


def main():
    if "--self-test" in sys.argv[1:]:
        run_self_test()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build-dir", required=True)
    parser.add_argument("--tool", action="append", choices=TOOLS, help="default: all three")
    parser.add_argument("paths", nargs="*", help="prefixes of the files to look at; default: all")
    options = parser.parse_args()

    units = [unit for unit in compile_units(options.build_dir) if unit.path.startswith(tuple(options.paths) or "")]
    tools = options.tool or list(TOOLS)
    rows, found = suppressions.load()
    for tool, path, line, message, check in analyse(tools, units):
        covering = [row for row in rows if row.covers(tool, check, path, message)]
        for row in covering:
            row.used = True
        if not covering:
            found.append(f"{path}:{line}: {tool}: {message} [{check}]")
    if not options.paths and not options.tool:
        for row in rows:
            if row.tool in suppressions.ANALYSERS and not row.used:
                print(f"{suppressions.PATH}:{row.line}: nothing needs this row any more")
    sources.finish("analyze", sorted(found), len(units))


if __name__ == "__main__":
    sys.exit(main())
