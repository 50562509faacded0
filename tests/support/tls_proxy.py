"""TLS in front of a devbroker: one listener for its nameserver, one for its broker, whose port the routes that pass are made to name."""

import asyncio
import contextlib
import socket
import ssl
import threading
import warnings


def server_context(issued, client_ca=None, **options):
    """What a server with that certificate uses; with client_ca it asks for a certificate of that authority. options: minimum_version, ..."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if options.pop("weak", False):
        context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(issued.cert, issued.key)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are wanted here
        for name, value in options.items():
            setattr(context, name, value)
    return context


def _end(loop, thread):
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


class TlsProxy:
    """A context manager. .namesrv is what a hub is configured with; contexts may be replaced while it runs."""

    def __init__(self, broker, context):
        self.context = context
        self.upstream = {"nameserver": int(broker.namesrv.split(":")[1]), "broker": broker.broker_ports[0]}
        self.ports, self.servers, self.writers = {}, [], set()
        self.clients = []  # common names in certificates of clients, in their order
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        for name in self.upstream:
            self.ports[name] = self.run(self.listen(name))
        self.namesrv = f"127.0.0.1:{self.ports['nameserver']}"
        return self

    def __exit__(self, *_):
        async def close():
            for server in self.servers:
                server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.disconnect_all()
        self.run(close())
        _end(self.loop, self.thread)

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def disconnect_all(self):
        async def close():
            for writer in list(self.writers):
                writer.transport.abort()
        self.run(close())

    def use(self, context):
        """For connections from now on."""
        self.context = context

    async def listen(self, name):
        async def serve(reader, writer):
            # The handshake is done here and not by the listener, so that the context can change.
            with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError, ConnectionError):
                await writer.start_tls(self.context)
                await self.carry(name, reader, writer)
            writer.close()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.servers.append(server)
        return server.sockets[0].getsockname()[1]

    async def carry(self, name, reader, writer):
        certificate = writer.get_extra_info("peercert") or {}
        self.clients += [value for entry in certificate.get("subject", ()) for key, value in entry if key == "commonName"]
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.upstream[name])
        self.writers.add(writer)
        try:
            up = asyncio.ensure_future(self.copy(reader, server_writer))
            down = asyncio.ensure_future(self.copy_frames(server_reader, writer) if name == "nameserver" else self.copy(server_reader, writer))
            _, pending = await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
        finally:
            self.writers.discard(writer)
            server_writer.close()

    @staticmethod
    async def copy(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async def copy_frames(self, reader, writer):
        """Whole frames, with the broker's port replaced; both have five digits, so lengths stay."""
        old, new = (f"127.0.0.1:{port}\"".encode() for port in (self.upstream["broker"], self.ports["broker"]))
        while True:
            head = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(head, "big"))
            assert len(old) == len(new)
            writer.write(head + body.replace(old, new))
            await writer.drain()


class Listener:
    """A server that is not what it should be: plain, silent, or one whose handshake fails. It keeps what it was sent in plain sight."""

    def __init__(self, answer=b"", context=None):
        self.answer, self.context = answer, context
        self.received = []  # the first bytes of each connection
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    self.received.append(connection.recv(4096, socket.MSG_PEEK))
                    self.talk(connection)

    def talk(self, connection):
        if self.context:
            with self.context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(1)
            return
        if self.answer:
            connection.sendall(self.answer)
        while connection.recv(4096):
            pass
