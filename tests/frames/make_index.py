#!/usr/bin/env python3
"""Copies recorded frames and writes index.txt: what each of them says, in a form that needs no JSON parser to read.

Usage: make_index.py SOURCE   where SOURCE holds the *.bin files and the recorder's index.json

The facts come from the recorder's own decoding (Python's json and struct), never from the codec under test.
One fact per line, values with \\xNN for every byte that is not printable ASCII, and for the backslash:

    frame FILE BYTES TYPE HEADER_BYTES CODE FLAG LANGUAGE OPAQUE VERSION
    remark TEXT
    ext KEY TEXT
    body BYTES CRC32
"""
import json
import pathlib
import shutil
import sys
import zlib


def printable(text):
    return "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in text.encode())


def main():
    source, target = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent
    lines = []
    for frame in json.loads((source / "index.json").read_text())["frames"]:
        header, data = frame["header"], (source / frame["file"]).read_bytes()
        body = data[8 + frame["header_length"]:]
        ext = header.get("extFields") or {}
        lines.append(f"frame {frame['file']} {len(data)} {frame['serialize_type']} {frame['header_length']} {header['code']} "
                     f"{header['flag']} {header['language']} {header['opaque']} {header['version']}")
        if header.get("remark"):
            lines.append("remark " + printable(header["remark"]))
        lines += [f"ext {key} {printable(value)}" for key, value in ext.items()]
        lines.append(f"body {len(body)} {zlib.crc32(body):08x}")
        shutil.copyfile(source / frame["file"], target / frame["file"])
    (target / "index.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
