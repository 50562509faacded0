"""Which files the checks look at, and how they report: one line a finding, exit status 1 when there is one."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _walk(root):
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f not in (".git", "build", ".cache", "__pycache__")]
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), root)


def tree_files(root=ROOT):
    """Paths relative to the root: what git tracks or would track; every file where there is no git."""
    try:
        listing = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"], check=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        listing = _walk(root)
    return sorted(path for path in set(listing) if os.path.isfile(os.path.join(root, path)))


def c_files(root=ROOT, suffixes=(".c", ".h")):
    return [path for path in tree_files(root) if path.endswith(suffixes)]


def read(path, root=ROOT):
    with open(os.path.join(root, path), encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def finish(what, findings, looked_at):
    """Prints the findings and ends the process."""
    for finding in findings:
        print(finding)
    print(f"{what}: {looked_at} looked at, {len(findings)} findings")
    sys.exit(1 if findings else 0)


def self_test(what, cases):
    """cases: (name, wanted, got). A check that finds nothing where it must is worse than none."""
    wrong = [f"{what} self-test: {name}: wanted {wanted!r}, got {got!r}" for name, wanted, got in cases if wanted != got]
    finish(f"{what} self-test", wrong, len(cases))
