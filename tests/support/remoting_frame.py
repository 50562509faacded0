"""RocketMQ's remoting frames, read and written without any of the code under test: JSON and binary headers."""

import json
import pathlib
import re
import struct

FRAMES = pathlib.Path(__file__).resolve().parents[1] / "frames"

# RequestCode and LanguageCode of 4.9.3, as far as tests name them.
SEND_MESSAGE_V2, HEART_BEAT, UNREGISTER_CLIENT, GET_ROUTEINFO_BY_TOPIC = 310, 34, 35, 105
_LANGUAGES = ("JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS")


class Frame:
    """One whole frame, its length prefix included. No ext fields and empty ones are the same; no remark is None."""

    def __init__(self, data):
        total, packed = struct.unpack(">iI", data[:8])
        if total != len(data) - 4:
            raise ValueError(f"a frame of {len(data)} bytes says that {total} follow its prefix")
        header_end = 8 + (packed & 0xFFFFFF)
        header, self.body = data[8:header_end], data[header_end:]
        self.encoding = {0: "JSON", 1: "ROCKETMQ"}[packed >> 24]
        (self._read_json if self.encoding == "JSON" else self._read_binary)(header)

    def _read_json(self, header):
        h = json.loads(header)
        self.code, self.language, self.version, self.opaque, self.flag = (h[k] for k in ("code", "language", "version", "opaque", "flag"))
        self.remark, self.ext = h.get("remark"), h.get("extFields") or {}

    def _read_binary(self, header):
        self.code, language, self.version, self.opaque, self.flag, remark_len = struct.unpack(">hBhiii", header[:17])
        self.language = _LANGUAGES[language]
        self.remark = header[17:17 + remark_len].decode() if remark_len else None
        at = 17 + remark_len
        ext_len, = struct.unpack(">i", header[at:at + 4])
        at += 4
        if ext_len != len(header) - at:
            raise ValueError(f"ext fields of {ext_len} bytes in {len(header) - at}")
        self.ext = {}
        while at < len(header):
            key_len, = struct.unpack(">h", header[at:at + 2])
            key = header[at + 2:at + 2 + key_len].decode()
            at += 2 + key_len
            value_len, = struct.unpack(">i", header[at:at + 4])
            if key in self.ext:
                raise ValueError(f"ext field {key} stands twice")
            self.ext[key] = header[at + 4:at + 4 + value_len].decode()
            at += 4 + value_len

    def json_body(self):
        """The body as JSON; fastjson writes integer keys bare."""
        return json.loads(re.sub(rb'([{,])(\d+):', rb'\1"\2":', self.body))

    def properties(self):
        """A message's properties, in their order, from the encoded text of the send header."""
        pairs = [pair.split("\x01") for pair in self.ext["i"].split("\x02")]
        if any(len(pair) != 2 for pair in pairs) or len({name for name, _ in pairs}) != len(pairs):
            raise ValueError(f"properties {self.ext['i']!r}")
        return dict(pairs)


def recorded(name):
    """A recorded frame, decoded."""
    return Frame((FRAMES / f"{name}.bin").read_bytes())


def with_json_header(frame, opaque, body=None):
    """The bytes of @p frame under another opaque, and with another body if one is given."""
    header = {"code": frame.code, "flag": frame.flag, "language": frame.language, "opaque": opaque, "version": frame.version,
              "serializeTypeCurrentRPC": "JSON", "extFields": frame.ext}
    if frame.remark:
        header["remark"] = frame.remark
    header = json.dumps(header).encode()
    body = frame.body if body is None else body
    return struct.pack(">iI", 4 + len(header) + len(body), len(header)) + header + body


def read_frame(stream):
    """The next frame of a binary file object, or None at its end."""
    prefix = stream.read(4)
    if len(prefix) < 4:
        return None
    return Frame(prefix + stream.read(struct.unpack(">i", prefix)[0]))
