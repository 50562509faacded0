#!/usr/bin/env python3
"""Cuts the recorded frames of tests/frames into the seeds of the fuzz targets. Run it after tests/frames changes.

tests/fuzz/corpus/remoting_frame is a link to tests/frames. Inputs that a fuzzer found (names that start with
"found-") are kept.
"""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
FRAMES = HERE.parent / "frames"
CORPUS = HERE / "corpus"


def split(data):
    total, packed = struct.unpack(">II", data[:8])
    header = packed & 0xFFFFFF
    return packed >> 24, data[8:8 + header], data[8 + header:]


def binary_header(text):
    """The JSON header in the other encoding."""
    h = json.loads(text)
    ext = b"".join(struct.pack(">h", len(k)) + k.encode() + struct.pack(">i", len(v.encode())) + v.encode()
                   for k, v in (h.get("extFields") or {}).items())
    remark = (h.get("remark") or "").encode()
    return (struct.pack(">hBhiii", h["code"], 0, h["version"], h["opaque"], h["flag"], len(remark)) + remark +
            struct.pack(">i", len(ext)) + ext)


def seed(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def main():
    link = CORPUS / "remoting_frame"
    if not link.is_symlink():
        CORPUS.mkdir(exist_ok=True)
        link.symlink_to("../../frames")
    for path in sorted(FRAMES.glob("*.bin")):
        kind, header, body = split(path.read_bytes())
        name = path.stem
        if kind == 1:
            seed("binary_header", name, header)
        elif name.startswith(("java_", "v5_")) or name.endswith("_resp"):
            seed("json_header", name, header)
            if "send" in name or "route" in name:
                seed("binary_header", name, binary_header(header))
        if body and "route" in name:
            seed("topic_route_data", name, body)
        if body and "heartbeat" in name:
            seed("heartbeat_data", name, body)
        if body and ("batch" in name or body[4:8] == b"\xda\xa3\x20\xa7"):
            seed("message_codec", name, body)
    seed("message_codec", "offset_message_id", b"7F000001000051AF0000000020F5634C")
    seed("message_codec", "properties", b"KEYS\x01key1 key2\x02TAGS\x01TagA\x02UNIQ_KEY\x01FD00")
    seed("topic_route_data", "two_brokers",
         b'{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.2:10911",1:"10.0.0.3:10911"},"brokerName":"b","cluster":"C"},'
         b'{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"a\\u00e9","cluster":"C"}],"filterServerTable":{"f":["x"]},'
         b'"orderTopicConf":"a:4;b:2","queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":4,"writeQueueNums":4},'
         b'{"brokerName":"a","perm":4}]}')


if __name__ == "__main__":
    main()
