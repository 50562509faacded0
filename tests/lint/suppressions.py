"""Reads suppressions.txt: the rows, each with its reason."""
import dataclasses
import fnmatch

import sources

PATH = "tests/lint/suppressions.txt"
ANALYSERS = ("clang-tidy", "cppcheck", "fanalyzer")
TOOLS = ANALYSERS + ("tsan", "lsan", "no_sanitize", "coverage")


@dataclasses.dataclass
class Row:
    line: int
    tool: str
    check: str
    path: str
    words: str
    reason: str
    used: bool = False

    def covers(self, tool, check, path, message):
        return (tool == self.tool and fnmatch.fnmatch(check, self.check) and fnmatch.fnmatch(path, self.path)
                and self.words in message)


def parse(text):
    """Returns the rows and what is wrong with the file."""
    rows, wrong = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 5:
            wrong.append(f"{PATH}:{number}: wanted 5 fields, got {len(fields)}")
            continue
        row = Row(number, *fields)
        if row.tool not in TOOLS:
            wrong.append(f"{PATH}:{number}: unknown tool {row.tool}")
        if len(row.reason.split()) < 4:
            wrong.append(f"{PATH}:{number}: the reason does not say why")
        rows.append(row)
    return rows, wrong


def load():
    return parse(sources.read(PATH))
