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
        if "push" in name and not name.endswith("answer"):
            seed("broker_requests", name, path.read_bytes()[4:])
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
    hand_written_broker_requests()
    configurations()
    store_records()


def request(code, flag, fields, body=b""):
    header = json.dumps({"code": code, "extFields": fields, "flag": flag, "language": "JAVA", "opaque": 7, "version": 399},
                        separators=(",", ":")).encode()
    return struct.pack(">I", len(header)) + header + body


def hand_written_broker_requests():
    """What was not recorded among tests/frames, and the same request with a binary header."""
    record = next(FRAMES.glob("java_push_check_transaction_state.bin")).read_bytes()
    message = split(record)[2]
    seed("broker_requests", "consume_message_directly",
         request(309, 0, {"consumerGroup": "G", "clientId": "10.0.0.1@a", "msgId": "7F000001000051AF0000000020E53B41",
                          "brokerName": "broker-a"}, message))
    seed("broker_requests", "reset_offset_empty",
         request(220, 2, {"topic": "T", "group": "G", "timestamp": "-1", "isForce": "true"}))
    seed("broker_requests", "reset_offset_string_keys",
         request(220, 2, {"topic": "T", "group": "G", "timestamp": "0", "isForce": "false"},
                 b'{"offsetTable":{"{\\"brokerName\\":\\"b\\",\\"queueId\\":1,\\"topic\\":\\"T\\"}":9007199254740993}}'))
    seed("broker_requests", "unknown_code", request(999, 2, {}))
    header = binary_header(json.dumps({"code": 307, "version": 399, "opaque": -1, "flag": 0, "extFields": {
        "consumerGroup": "G", "clientId": "10.0.0.1@a", "jstackEnable": "true"}}))
    seed("broker_requests", "binary_running_info", struct.pack(">I", 1 << 24 | len(header)) + header)


def configurations():
    sample = (HERE.parent.parent / "docs" / "rmqhub.conf.sample").read_text()
    seed("configuration", "small", b"[hub]\nlog_level = info\n[cluster a]\nnamesrv_addr = 10.0.0.1:9876;10.0.0.2:9876\n")
    settings = [line for line in sample.splitlines() if line.startswith(("[", "#")) and (line[0] == "[" or " = " in line + " ")]
    keys = [line.lstrip("#") for line in settings if line[0] == "[" or (line[1:2].isalpha() and " =" in line)]
    seed("configuration", "every_key", ("\n".join(key for key in keys if not key.endswith("=")) + "\n").encode())
    seed("configuration", "wrong", b"stray\n[nowhere]\na = 1\n[hub]\nlog_level = loud\nlog_level = info\n key=1 ; x\n[hub\n"
         b"[cluster a]\nnamesrv_addr=http://MQ_INST_1_ab.example.com:80\n\xff\x00=\n")


def fnv(value, data):
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 & 0xFFFFFFFFFFFFFFFF
    return value


def store_records():
    """As hub/store/store_record.c seals them."""
    for name, key, origin, content in (("route", b"route/a/T", b"10.0.0.1:9876", b'{"brokerDatas":[],"queueDatas":[]}'),
                                       ("empty", b"k", b"", b""), ("no_key", b"", b"x", b"y")):
        front = struct.pack(">IHHIIqq", 0x524D5148, 2, len(origin), len(content), 0, 1795462236444, 1795465836444)
        checksum = fnv(fnv(fnv(0xCBF29CE484222325, key), front), origin + content)
        seed("store_records", name, bytes([len(key)]) + key + front + struct.pack(">Q", checksum) + origin + content)


if __name__ == "__main__":
    main()
