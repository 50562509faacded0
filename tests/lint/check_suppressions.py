#!/usr/bin/env python3
"""Every suppression stands in suppressions.txt with its reason; none hides in a source. A shellcheck directive, which
can only stand in place, carries its reason behind it."""
import re
import sys

import sources
import suppressions

# Written in pieces, so that this file does not find itself.
IN_SOURCE = re.compile(r"\bNO" + r"LINT|cppcheck-sup" + r"press|#\s*pragma\s+(GCC|clang)\s+diag" + r"nostic|clang-for" + r"mat off.*analy")
ATTRIBUTE = re.compile(r"no_sani" + r"tize")
MARKER = re.compile(r"(LCOV|GCO" + r"VR?)_EXCL")
SHELL = re.compile(r"#\s*shellcheck\s+dis" + r"able=\S+(.*)")


def findings_in(path, text, rows):
    def listed(tool):
        return any(row.tool == tool and row.path == path for row in rows)

    found = []
    for number, line in enumerate(text.splitlines(), 1):
        shell = SHELL.search(line)
        if IN_SOURCE.search(line):
            found.append(f"{path}:{number}: suppression: belongs in {suppressions.PATH}")
        if path.endswith((".c", ".h")) and ATTRIBUTE.search(line) and not listed("no_sanitize"):
            found.append(f"{path}:{number}: suppression: a row no_sanitize in {suppressions.PATH} must say why")
        if MARKER.search(line) and not listed("coverage"):
            found.append(f"{path}:{number}: suppression: a row coverage in {suppressions.PATH} must say why")
        if shell and not shell[1].strip(" #"):
            found.append(f"{path}:{number}: suppression: say why behind the directive")
    return found


def run_self_test():
    def count(text, rows=()):
        return len(findings_in("shm/a.c", text, rows))

    rows, wrong = suppressions.parse("no_sanitize | thread | shm/a.c | | the reader validates what it copied\n"
                                     "cppcheck | x | a.c |\nlint | x | a.c | | some words that say why\ncppcheck | x | a.c | | noise\n")
    sources.self_test("check_suppressions", [
        ("rows that are wrong", 3, len(wrong)),
        ("hidden in a source", 1, count("x(); // NO" + "LINT\n")),
        ("attribute without a row", 1, count("__attribute__((no_sani" + "tize))\n")),
        ("attribute with a row", 0, count("__attribute__((no_sani" + "tize))\n", rows)),
        ("shell directive without a reason", 1, count("# shellcheck dis" + "able=SC1\n")),
        ("shell directive with a reason", 0, count("# shellcheck dis" + "able=SC1 # one word a package\n")),
    ])


def main():
    if "--self-test" in sys.argv[1:]:
        run_self_test()
    rows, found = suppressions.load()
    paths = [path for path in sources.tree_files() if path.endswith((".c", ".h", ".sh", ".py", ".txt", "dev", ".ci/run"))]
    for path in paths:
        if path != suppressions.PATH:
            found += findings_in(path, sources.read(path), rows)
    sources.finish("check_suppressions", found, len(paths))


main()
