"""The test messages, as sent by Sender.java and tests/support/ledger_producer.c: message seq of a producer called name."""

import zlib


def body(name, seq, size):
    head = f"{name}:{seq}:".encode()
    return head + bytes((seq * 31 + i * 7) & 0xFF for i in range(len(head), size))


def body_crc(name, seq, size):
    return zlib.crc32(body(name, seq, size))


def keys(name, seq):
    return f"{name}-{seq}"


def tags(seq):
    return f"tag{seq % 3}"


def properties(name, seq):
    return {"producer": name, "sequence": str(seq), "note": f"naïve café №{seq}"}
