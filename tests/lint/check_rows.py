#!/usr/bin/env python3
"""Holds the table "4.9.3 method, our function, test" of ARCHITECTURE.md against the tree: all 18 rows, each function defined in the
file that is named, each test there and registered, with the same functions as in tests/rows/CMakeLists.txt, whose mutants it kills."""
import collections
import os
import re
import sys

import sources

PAGE = "ARCHITECTURE.md"
HEADING = "## The 4.9.3 client, row by row"
LIST = "tests/rows/CMakeLists.txt"
ROWS = [f"{number:02}" for number in range(1, 19)]

Row = collections.namedtuple("Row", "number functions test line")  # functions: name -> file


def page_rows(text):
    """Rows of the table under HEADING. Functions stand as `name`, and after one or several of them (`file`)."""
    rows, inside = [], False
    for line, content in enumerate(text.split("\n"), 1):
        if content.startswith("## "):
            inside = content == HEADING
        match = re.match(r"\| (\d\d) \| `[^|]*` \| ([^|]*) \| `(\w+)` \|$", content) if inside else None
        if match:
            rows.append(Row(match[1], functions_in(match[2]), match[3], line))
    return rows


def functions_in(cell):
    functions, waiting = {}, []
    for file, name in re.findall(r"\(`([\w/.]+)`\)|`(\w+)`", cell):
        if name:
            waiting.append(name)
        else:
            functions.update(dict.fromkeys(waiting, file))
            waiting = []
    functions.update(dict.fromkeys(waiting, None))
    return functions


def registered(text):
    """Test -> its functions."""
    calls = re.findall(r"^rmqhub_row\((\d\d) (\w+)\s([^)]*)\)", re.sub(r"#.*", "", text), re.MULTILINE)
    found = {}
    for number, name, rest in calls:
        functions = re.search(r"\bFUNCTIONS\s+([a-z0-9_\s]+)", rest)
        found[f"row_{number}_{name}"] = functions[1].split() if functions else []
    return found


def is_defined(name, text):
    """A definition, not a declaration or a call: the name at the outermost level, its parameters, then a brace."""
    return re.search(rf"^(?!static )[a-z][\w \*\n]*\b{name}\([^;{{}}]*\)\n?\s*{{", text, re.MULTILINE) is not None


def check_row(row, read, tests):
    for name, file in row.functions.items():
        text = read(file) if file else None
        if text is None:
            yield f"{name}: " + (f"{file} is not there" if file else "no file named after it")
        elif not is_defined(name, text):
            yield f"{name} is not defined in {file}"
    if not row.test.startswith(f"row_{row.number}_"):
        yield f"{row.test} is not the name of a test of row {row.number}"
    if read(f"tests/rows/{row.test}.c") is None:
        yield f"tests/rows/{row.test}.c is not there"
    if row.test not in tests:
        yield f"{row.test} is not registered in {LIST}"
    elif set(tests[row.test]) != set(row.functions):
        yield f"{row.test} has mutants of {' '.join(sorted(tests[row.test]))} in {LIST}, the table says {' '.join(sorted(row.functions))}"


def findings(read):
    rows, tests = page_rows(read(PAGE)), registered(read(LIST))
    found = [f"{PAGE}:{row.line}: rows: {finding}" for row in rows for finding in check_row(row, read, tests)]
    numbers = [row.number for row in rows]
    if numbers != ROWS:
        found.append(f"{PAGE}:1: rows: the table has rows {' '.join(numbers)}, not {ROWS[0]} to {ROWS[-1]} in order")
    return found + [f"{LIST}:1: rows: {test} is not in the table of {PAGE}" for test in tests if test not in {row.test for row in rows}]


def read_or_none(path):
    return sources.read(path) if os.path.isfile(os.path.join(sources.ROOT, path)) else None


def run_self_test():
    page = "\n".join(["## Other", "| 01 | `Not.this` | `x` (`y.c`) | `row_01_x` |", HEADING] +
                     [f"| {n} | `A.b` | `f{n}`, `g{n}` (`a.c`); `h{n}` (`b.c`) | `row_{n}_t` |" for n in ROWS] + [""])
    tree = {PAGE: page, LIST: "# rmqhub_row(99 no FUNCTIONS no)\n" + "".join(f"rmqhub_row({n} t FUNCTIONS f{n} h{n}\n  g{n} DEPENDS m)\n" for n in ROWS),
            "a.c": "".join(f"int f{n}(void)\n{{\n}}\nstruct a *g{n}(int a,\n    int b)\n{{\n}}\n" for n in ROWS),
            "b.c": "".join(f"bool h{n}(void)\n{{\n    f{n}();\n}}\n" for n in ROWS), **{f"tests/rows/row_{n}_t.c": "" for n in ROWS}}

    def count(path, old, new):
        changed = dict(tree)
        if old:
            assert old in tree[path]
            changed[path] = tree[path].replace(old, new)
        else:
            del changed[path]
        return len(findings(changed.get))

    sources.self_test("check_rows", [
        ("as it should be", [], findings(tree.get)),
        ("row missing", 2, count(PAGE, "| 07 | `A.b`", "| `A.b`")),
        ("row twice", 1, count(PAGE, "| 08 | `A.b` | `f08`", "| 08 | `A.b` | `f08`, `g08` (`a.c`); `h08` (`b.c`) | `row_08_t` |\n| 08 | `A.b` | `f08`")),
        ("function not defined", 1, count("a.c", "int f03(void)\n{", "int f03(void);\nint z(void)\n{")),
        ("function is static", 1, count("a.c", "int f03(void)", "static int f03(void)")),
        ("called only", 1, count("b.c", "bool h04(void)\n{", "bool z(void)\n{\n    h04();")),
        ("file not there", 18, count("b.c", None, None)),
        ("no file", 1, count(PAGE, "`h05` (`b.c`)", "`h05`")),
        ("test not there", 1, count("tests/rows/row_06_t.c", None, None)),
        ("test not registered", 1, count(LIST, "rmqhub_row(06 ", "# rmqhub_row(06 ")),
        ("other functions registered", 1, count(LIST, "f09 h09", "f09")),
        ("test of no row", 1, count(LIST, "rmqhub_row(01 ", "rmqhub_row(18 u FUNCTIONS f)\nrmqhub_row(01 ")),
    ])


def main():
    if "--self-test" in sys.argv[1:]:
        run_self_test()
    sources.finish("check_rows", findings(read_or_none), len(ROWS))


main()
