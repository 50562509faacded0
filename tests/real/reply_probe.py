"""Asks a broker whether it can reach a client for request-reply: a reply to that client is sent by hand (SEND_REPLY_MESSAGE_V2),
the broker pushes it and says whether the client took it. Nobody waits for the reply, so it changes nothing at the client."""

import json
import socket
import struct
import time
import typing

from remoting_frame import read_frame

SEND_REPLY_MESSAGE_V2 = 325
REPLY_TOPIC = "DefaultCluster_REPLY_TOPIC"


class Answer(typing.NamedTuple):
    """What the broker said: code 0 when the client took the push."""
    code: int
    remark: str

    @property
    def reached(self):
        """Whether the broker knew a connection of that client, whatever the client then said."""
        return self.code == 0 or "not found" not in self.remark


def probe(broker, client_id, timeout_s=12):
    """The broker's Answer to a reply that is meant for a client id."""
    properties = {"MSG_TYPE": "reply", "CORRELATION_ID": "probe", "REPLY_TO_CLIENT": client_id, "TTL": "3000"}
    ext = {"a": "reply-probe", "b": REPLY_TOPIC, "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": str(int(time.time() * 1000)), "h": "0",
           "i": "\x02".join(f"{k}\x01{v}" for k, v in properties.items()), "j": "0", "k": "false", "m": "false"}
    header = json.dumps({"code": SEND_REPLY_MESSAGE_V2, "language": "OTHER", "version": 399, "opaque": 1, "flag": 0,
                         "serializeTypeCurrentRPC": "JSON", "extFields": ext}).encode()
    body = b"probe"
    host, port = broker.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout_s) as s:
        s.sendall(struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body)
        answer = read_frame(s.makefile("rb"))
    return Answer(answer.code, answer.remark or "")
