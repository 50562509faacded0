#!/usr/bin/env python3
"""Stands between a client and its nameservers and brokers, passes every frame on and writes down what it saw.

    recording_proxy.py --trace FILE HOST:PORT [HOST:PORT ...]

For each nameserver it opens a port of its own and prints "nameserver HOST:PORT" for it, in the order of the arguments, and
then "ready". In every route that a nameserver sends, the brokers' addresses are replaced by ports of the proxy, so that all
connections of the client lead through it. The trace is a file of one JSON object a line (see client_trace.py); times are those of
CLOCK_MONOTONIC, which all processes of a machine share."""

import argparse
import asyncio
import contextlib
import json
import pathlib
import re
import signal
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))

from remoting_frame import Frame

MAX_FRAME = 16 * 1024 * 1024
BROKER_ADDRESSES = re.compile(rb'"brokerAddrs":\{[^{}]*\}')
ADDRESS = re.compile(rb'"([0-9.]+):([0-9]+)"')
IS_REPLY = 1


class RecordingProxy:
    """All ports of one client's proxy, and its trace."""

    def __init__(self, trace_file):
        self.trace_file = trace_file
        self.ports = {}         # (role, upstream address): our port
        self.connections = 0

    def write(self, **row):
        self.trace_file.write(json.dumps({"ns": time.monotonic_ns(), "wall_ms": time.time_ns() // 1000000, **row}) + "\n")
        self.trace_file.flush()

    async def listen(self, role, upstream):
        """Our port for one server; the same for the same server."""
        if (role, upstream) not in self.ports:
            server = await asyncio.start_server(lambda r, w: self.serve(role, upstream, r, w), "127.0.0.1", 0)
            self.ports[role, upstream] = server.sockets[0].getsockname()[1]
        return self.ports[role, upstream]

    async def serve(self, role, upstream, reader, writer):
        """One connection of the client, from its first byte to its end."""
        self.connections += 1
        number = self.connections
        self.write(connection=number, event="open", role=role, server=upstream)
        host, port = upstream.rsplit(":", 1)
        try:
            server_reader, server_writer = await asyncio.open_connection(host, int(port))
        except OSError as error:
            self.write(connection=number, event="close", by="server", why=str(error))
            writer.transport.abort()   # what a client sees of a server that refuses, as near as a proxy gets
            return
        ends = {asyncio.create_task(self.pump(number, role, "request", reader, server_writer)): "client",
                asyncio.create_task(self.pump(number, role, "answer", server_reader, writer)): "server"}
        done, left = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        first = done.pop()
        self.write(connection=number, event="close", by=ends[first], why=first.result())
        for task in left:
            task.cancel()
        for end in (writer, server_writer):
            with contextlib.suppress(OSError):
                end.close()

    async def pump(self, number, role, direction, reader, writer):
        """Passes frames on until the sender ends; returns how it ended."""
        try:
            while True:
                prefix = await reader.readexactly(4)
                total, = struct.unpack(">i", prefix)
                if not 4 <= total <= MAX_FRAME:
                    return f"a length of {total}"
                data = prefix + await reader.readexactly(total)
                try:
                    frame = Frame(data)
                except (ValueError, KeyError, IndexError, struct.error) as error:
                    return f"a frame that cannot be read: {error!r}"
                self.write_frame(number, direction, frame)
                if role == "nameserver" and direction == "answer" and frame.flag & IS_REPLY:
                    data = await self.redirected(data)
                writer.write(data)
                await writer.drain()
        except asyncio.IncompleteReadError as end:
            return "fin" if not end.partial else f"fin after {len(end.partial)} bytes of a frame"
        except OSError:
            return "reset"

    def write_frame(self, number, direction, frame):
        self.write(connection=number, event=direction, encoding=frame.encoding, code=frame.code, language=frame.language, version=frame.version,
                   opaque=frame.opaque, flag=frame.flag, remark=frame.remark, ext=frame.ext, body=frame.body.decode("latin-1"))

    async def redirected(self, data):
        """A nameserver's answer with the brokers' addresses replaced by ours."""
        header_end = 8 + (struct.unpack(">I", data[4:8])[0] & 0xFFFFFF)
        body = data[header_end:]
        for block in set(BROKER_ADDRESSES.findall(body)):
            ours = block
            for host, port in set(ADDRESS.findall(block)):
                address = f"{host.decode()}:{port.decode()}"
                ours = ours.replace(f'"{address}"'.encode(), f'"127.0.0.1:{await self.listen("broker", address)}"'.encode())
            body = body.replace(block, ours)
        return struct.pack(">i", header_end - 4 + len(body)) + data[4:header_end] + body


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trace", type=pathlib.Path, required=True)
    parser.add_argument("nameservers", nargs="+")
    args = parser.parse_args()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with open(args.trace, "w", encoding="utf-8") as trace_file:
        proxy = RecordingProxy(trace_file)
        for nameserver in args.nameservers:
            print(f"nameserver 127.0.0.1:{await proxy.listen('nameserver', nameserver)}")
        print("ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
