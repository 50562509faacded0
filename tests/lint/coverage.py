#!/usr/bin/env python3
"""Line coverage by folder, from the counters that the last test run left in a build tree; exit status 1 below a limit.

A process that is killed leaves no counters, so what only a killed process ran does not count."""
import collections
import json
import os
import subprocess
import sys

import sources

# (what, the paths, percent of lines at least)
CODEC = ("hub/protocol/", "hub/remoting/remoting_command", "hub/remoting/remoting_codec", "hub/remoting/wire_json",
         "hub/remoting/response_table")
LIMITS = [("shm/", ("shm/",), 90), ("codec and response table", CODEC, 90), ("overall", ("shm/", "hub/", "libclient/", "tui/"), 80)]

Lines = collections.namedtuple("Lines", "covered total")


def measure(build_dir):
    """Path -> Lines, for our own sources without tests and examples."""
    report = subprocess.run(["gcovr", "--root", sources.ROOT, "--object-directory", build_dir, "--exclude", "tests/", "--exclude",
                             ".*/examples/", "--exclude", "build/", "--json-summary", "-", build_dir],
                            cwd=sources.ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {file["filename"]: Lines(file["line_covered"], file["line_total"]) for file in json.loads(report)["files"]}


def total(files, prefixes):
    chosen = [lines for path, lines in files.items() if path.startswith(prefixes)]
    return Lines(sum(lines.covered for lines in chosen), sum(lines.total for lines in chosen))


def percent(lines):
    return 100.0 * lines.covered / lines.total if lines.total else 0.0


def main():
    files = measure(sys.argv[1])
    for folder in sorted({os.path.dirname(path) for path in files}):
        lines = Lines(*(sum(column) for column in zip(*(files[path] for path in files if os.path.dirname(path) == folder))))
        print(f"{folder:<28} {percent(lines):6.1f} %  {lines.covered:5}/{lines.total}")
    low = []
    for path, lines in sorted(files.items(), key=lambda item: percent(item[1]))[:10]:
        print(f"least: {path:<40} {percent(lines):6.1f} %")
    for what, prefixes, limit in LIMITS:
        reached = percent(total(files, prefixes))
        print(f"{what:<28} {reached:6.1f} %  (at least {limit})")
        if reached < limit:
            low.append(f"coverage of {what} is {reached:.1f} %, below {limit} %")
    sources.finish("coverage", low, len(files))


main()
