#!/usr/bin/env python3
"""Text that must not be in the tree: stray white space, unfinished work, paths of one machine, hosts that are nobody's
home page, conflict markers, files that belong to a build."""
import re
import sys

import sources

# Vectors and corpora are bytes, not text; a diff of white space in Markdown can be meant.
BINARY = re.compile(r"^tests/(frames|fuzz/corpus)/|\.(bin|png|gz)$")
TABS = re.compile(r"(^|/)(Makefile|.*\.mk)$")
BUILT = re.compile(r"\.(o|a|so|gcda|gcno|class|jar|pyc)$|(^|/)(core|vgcore)(\.\d+)?$")

# The public header keeps the older form, which every compiler of an application knows.
GUARD = re.compile(r"^#pragma once$|^#ifndef RMQHUB_H$", re.MULTILINE)

# Pages that a reader may follow, and names that configuration formats fix. Everything else is a host of somebody's network.
URL = re.compile(r"\bhttps?://([A-Za-z0-9._-]+)")
HOSTS = re.compile(r"^((www|rocketmq|maven)\.apache\.org|www\.w3\.org|github\.com|www\.rfc-editor\.org|keepachangelog\.com|semver\.org|"
                   r"jmenv\.tbsite\.net|MQ_INST_[A-Za-z0-9_.-]+|127\.0\.0\.1|[a-z0-9_-]+|([A-Za-z0-9_-]+\.)*(example|example\.(com|org)|invalid))$")

# Written in pieces, so that this file does not find itself.
RULES = [
    (re.compile(r"[ \t]+$"), "white space at the end of the line"),
    (re.compile(r"\r$"), "carriage return"),
    (re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"), "unfinished work belongs in an issue"),
    (re.compile(r"(?<![\w.])/(wo" + r"rk|ro" + r"ot|home/[a-z]\w*)/(?!rmqhub\b)"), "path of one machine"),
    (re.compile(r"/tm" + r"p/w/"), "path of one machine"),
    (re.compile(r"^(<{7}|>{7})( |$)"), "conflict marker"),
]


def line_findings(path, number, line):
    for pattern, what in RULES:
        if pattern.search(line):
            yield f"{path}:{number}: text: {what}"
    if "\t" in line and not TABS.search(path):
        yield f"{path}:{number}: text: tab"
    for host in URL.findall(line):
        if not HOSTS.match(host):
            yield f"{path}:{number}: text: host {host} is not in the list of check_text.py"


def findings_in(path, text):
    if BUILT.search(path):
        return [f"{path}:1: text: belongs to a build, not to the tree"]
    lines = text.split("\n")
    found = [finding for number, line in enumerate(lines, 1) for finding in line_findings(path, number, line)]
    if text and (lines[-1] != "" or text.endswith("\n\n")):
        found.append(f"{path}:{len(lines)}: text: must end with exactly one newline")
    if path.endswith(".h") and not GUARD.search(text):
        found.append(f"{path}:1: text: no #pragma once")
    return found


def run_self_test():
    def count(text, path="a.c"):
        return len(findings_in(path, text))

    sources.self_test("check_text", [
        ("clean", 0, count("int a;\n")),
        ("empty", 0, count("")),
        ("space at the end", 1, count("int a; \n")),
        ("no newline at the end", 1, count("int a;")),
        ("blank line at the end", 1, count("int a;\n\n")),
        ("tab", 1, count("\tint a;\n")),
        ("unfinished", 1, count("/* TO" + "DO later */\n")),
        ("machine path", 1, count("/wo" + "rk/main\n")),
        ("foreign host", 1, count("see http" + "://mirror.corp.net/x\n")),
        ("home page", 0, count("see https://rocketmq.apache.org/\n")),
        ("object file", 1, count("x\n", "a.o")),
        ("header without a guard", 1, count("int a;\n", "a.h")),
    ])


def main():
    if "--self-test" in sys.argv[1:]:
        run_self_test()
    files = [path for path in sources.tree_files() if not BINARY.search(path)]
    found = [finding for path in files for finding in findings_in(path, sources.read(path))]
    sources.finish("check_text", found, len(files))


main()
