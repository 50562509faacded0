#!/usr/bin/env python3
"""Holds the include directives against the layer table: a module uses its own level and lower ones only, and a
third-party library is named in the folders that wrap it only."""
import os
import re
import sys

import sources

# First match wins. (path prefix, level, name of the module)
LEVELS = [
    ("shm/", 0, "shm"),
    ("hub/protocol/", 1, "hub/protocol"),
    ("hub/remoting/remoting_command", 1, "codec half of hub/remoting"),
    ("hub/remoting/remoting_codec", 1, "codec half of hub/remoting"),
    ("hub/remoting/wire_json", 1, "codec half of hub/remoting"),
    ("hub/loop/", 1, "hub/loop"),
    ("hub/store/", 1, "hub/store"),
    ("hub/config/", 1, "hub/config"),
    ("hub/metrics/", 1, "hub/metrics"),
    ("hub/remoting/", 2, "I/O half of hub/remoting"),
    ("hub/route/", 3, "hub/route"),
    ("hub/instance/", 4, "hub/instance"),
    ("hub/schedule/", 4, "hub/schedule"),
    ("hub/producer/", 5, "hub/producer"),
    ("hub/consumer/", 5, "hub/consumer"),
    ("hub/ipc/", 6, "hub/ipc"),
    ("hub/control/", 6, "hub/control"),
    ("hub/", 7, "hub"),
]

# Side modules: what they may include beside themselves.
SIDES = {
    "libclient/": ("shm/", "libclient/include/"),
    "tui/": ("shm/", "libclient/include/"),
    "tests/": ("",),
}

# Folders that may name a library. tests/ may name any.
THIRD_PARTY = [
    (re.compile(r"event2/"), ("hub/loop/",)),
    (re.compile(r"lmdb\.h$"), ("hub/store/",)),
    (re.compile(r"ini\.h$"), ("hub/config/",)),
    (re.compile(r"openssl/"), ("hub/remoting/tls", "hub/remoting/acl")),
    (re.compile(r"n?curses(w/.*)?\.h$"), ("tui/",)),
    (re.compile(r"jansson\.h$"), ("tui/", "hub/control/")),
    (re.compile(r"(zlib|lz4|zstd)\.h$"), ("hub/protocol/",)),
    (re.compile(r"(uthash|utlist|utarray)\.h$"), ("hub/", "tui/")),
    (re.compile(r"cmocka\.h$"), ()),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def level_of(path):
    return next(((level, name) for prefix, level, name in LEVELS if path.startswith(prefix)), None)


def side_of(path):
    return next((prefix for prefix in SIDES if path.startswith(prefix)), None)


def check_third_party(path, header):
    for pattern, folders in THIRD_PARTY:
        if pattern.match(header) and not path.startswith(("tests/",) + folders):
            return f"<{header}> may be used in {' and '.join(folders) or 'tests/'} only"
    return None


def check_own(path, header, exists):
    """header: as written between quotes; a bare name is a file of the same folder or the public header."""
    target = header
    if not exists(target):
        beside = os.path.normpath(os.path.join(os.path.dirname(path), header))
        public = os.path.join("libclient/include", header)
        target = beside if exists(beside) else public if exists(public) else None
    if target is None:
        return None  # generated: the compiler says if it is not there
    if target.startswith("tests/") and not path.startswith("tests/"):
        return f"{target}: nothing outside tests/ may use it"
    side = side_of(path)
    if side:
        if not target.startswith((side,) + SIDES[side]):
            return f"{target}: {side} may use {' and '.join(SIDES[side])} only"
        return None
    here, there = level_of(path), level_of(target)
    if here and not there:
        return f"{target}: the hub does not use it"
    if here and there and there[0] > here[0]:
        return f"{target} ({there[1]}, level {there[0]}) is above {here[1]}, level {here[0]}"
    return None


def findings_in(path, text, exists):
    found = []
    for match in INCLUDE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        problem = check_third_party(path, match[2])
        if not problem and match[1] == '"':
            problem = check_own(path, match[2], exists)
        if problem:
            found.append(f"{path}:{line}: layer: {problem}")
    return found


def run_self_test():
    tree = {"shm/lane.h", "hub/protocol/codes.h", "hub/remoting/remoting_codec.h", "hub/remoting/channel.h", "hub/route/name_server.h",
            "hub/ipc/client.h", "tests/support/fake_clock.h", "libclient/include/rmqhub.h", "libclient/internal.h", "tui/view.h"}

    def count(path, text):
        return len(findings_in(path, text, tree.__contains__))

    sources.self_test("check_layers", [
        ("lower level", 0, count("hub/route/a.c", '#include "hub/remoting/channel.h"\n#include "shm/lane.h"\n')),
        ("upper level", 1, count("hub/remoting/channel.c", '#include "hub/route/name_server.h"\n')),
        ("codec uses the I/O half", 1, count("hub/remoting/remoting_codec.c", '#include "hub/remoting/channel.h"\n')),
        ("shm uses the hub", 1, count("shm/lane.c", '#include "hub/protocol/codes.h"\n')),
        ("bare name in the same folder", 0, count("hub/ipc/a.c", '#include "client.h"\n')),
        ("relative path does not hide", 1, count("hub/route/a.c", '#include "../ipc/client.h"\n')),
        ("libclient uses the hub", 1, count("libclient/a.c", '#include "hub/protocol/codes.h"\n')),
        ("public header", 0, count("tui/a.c", '#include "rmqhub.h"\n')),
        ("private header of the library", 1, count("tui/a.c", '#include "libclient/internal.h"\n')),
        ("hub uses the tool", 1, count("hub/main.c", '#include "tui/view.h"\n')),
        ("anything uses tests", 1, count("hub/main.c", '#include "tests/support/fake_clock.h"\n')),
        ("tests use anything", 0, count("tests/unit/a.c", '#include "hub/ipc/client.h"\n#include <cmocka.h>\n')),
        ("libevent outside the loop", 1, count("hub/route/a.c", "#include <event2/event.h>\n")),
        ("libevent in the loop", 0, count("hub/loop/a.c", "#include <event2/event.h>\n")),
        ("OpenSSL in TLS", 0, count("hub/remoting/tls_context.c", "#include <openssl/ssl.h>\n")),
        ("OpenSSL elsewhere", 1, count("hub/remoting/channel.c", "#include <openssl/ssl.h>\n")),
        ("indented directive", 1, count("libclient/a.c", "#  include <lmdb.h>\n")),
    ])


def main():
    if "--self-test" in sys.argv[1:]:
        run_self_test()
    files = sources.c_files()
    known = set(files)
    found = [finding for path in files for finding in findings_in(path, sources.read(path), known.__contains__)]
    sources.finish("check_layers", found, len(files))


main()
