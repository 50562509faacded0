#!/usr/bin/env python3
"""Each header compiles alone, so that the order of includes never matters; the public one also as C++ and without
_GNU_SOURCE, since an application includes it with flags of its own."""
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile

import sources

PUBLIC = "libclient/include/"
STRICT = ["-Wall", "-Wextra", "-Werror", "-Wundef", "-fsyntax-only"]


def compile_alone(header, language, flags, root=sources.ROOT):
    """The compiler's complaint, or None."""
    compiler = "c++" if language == "c++" else "cc"
    command = [compiler, *STRICT, *flags, "-I", root, "-x", language, "-"]
    run = subprocess.run(command, input=f'#include "{header}"\n', text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         check=False, cwd=root)
    return None if run.returncode == 0 else f"{header}: does not compile alone as {language}:\n{run.stdout.rstrip()}"


def ways(header):
    yield "c", ["-std=c11", "-D_GNU_SOURCE", '-DRMQHUB_FRAMES_DIR=""', "-I", "libclient/include"]
    if header.startswith(PUBLIC):
        yield "c", ["-std=c11", "-pedantic"]
        if shutil.which("c++"):
            yield "c++", ["-std=c++11", "-pedantic"]


def run_self_test():
    with tempfile.TemporaryDirectory() as root:
        for name, text in (("whole.h", "#pragma once\n#include <stdint.h>\nuint32_t f(void);\n"),
                           ("part.h", "#pragma once\nuint32_t f(void);\n")):
            with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                file.write(text)
        sources.self_test("check_headers", [
            ("whole header", True, compile_alone("whole.h", "c", ["-std=c11"], root) is None),
            ("header that needs another first", False, compile_alone("part.h", "c", ["-std=c11"], root) is None),
        ])


def main():
    if "--self-test" in sys.argv[1:]:
        run_self_test()
    headers = sources.c_files(suffixes=(".h",))
    jobs = [(header, language, flags) for header in headers for language, flags in ways(header)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [finding for finding in pool.map(lambda job: compile_alone(*job), jobs) if finding]
    sources.finish("check_headers", found, len(headers))


main()
