"""An HTTP proxy in front of a real S3 server that fails as busy servers and bad networks do, at stated rates."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from urllib.parse import urlsplit

_SLOW_SECONDS = (0.5, 2.0)


class S3Fault(StrEnum):
    """What happens to a request."""

    SLOW_DOWN = "S3: 503 SlowDown"
    SERVER_ERROR = "S3: 500 InternalError"
    RESET = "S3: connection reset, request lost"
    ANSWER_LOST = "S3: connection reset, answer lost"  # the server has done what was asked, and nobody knows
    TRUNCATED = "S3: answer cut off"
    SLOW = "S3: slow answer"


class S3Proxy:
    """Forwards to `endpoint`; `rates` (fault -> probability) and `down` may change at any time.

    One request a connection. `injected` counts what was done to requests, `requests` all that came in.
    """

    def __init__(self, endpoint: str) -> None:
        self.rates: Mapping[S3Fault, float] = {}
        self.down = False
        self.injected: Counter[S3Fault] = Counter()
        self.requests = 0
        self._target = urlsplit(endpoint)
        self._random = random.Random(0)
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def failing(self, seed: int, rates: Mapping[S3Fault, float]) -> Iterator[None]:
        """These faults for the duration of the block."""
        self._random, self.rates = random.Random(seed), rates
        try:
            yield
        finally:
            self.rates = {}

    async def serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """One connection: one request, one answer, or what a fault makes of them."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self.down:
                _reset(answer)
                return
            head = await client.readuntil(b"\r\n\r\n")
            self.requests += 1
            fault = self._draw()
            if fault is S3Fault.RESET:
                _reset(answer)
                return
            request = await _request(head, client, answer)
            if fault in (S3Fault.SLOW_DOWN, S3Fault.SERVER_ERROR):
                answer.write(_error(fault))
            else:
                await self._forward(request, answer, fault)
            with contextlib.suppress(OSError):
                await answer.drain()
                answer.close()

    async def _forward(self, request: bytes, answer: asyncio.StreamWriter, fault: S3Fault | None) -> None:
        try:
            server, sender = await asyncio.open_connection(self._target.hostname, self._target.port)
            sender.write(request)
            response = await server.read()
            sender.close()
        except OSError:
            _reset(answer)  # what a client of a server sees that has died, before or while it answered
            return
        if fault is S3Fault.SLOW:
            await asyncio.sleep(self._random.uniform(*_SLOW_SECONDS))
        if fault is S3Fault.ANSWER_LOST or not response:
            _reset(answer)
            return
        head, _, body = response.partition(b"\r\n\r\n")
        if fault is S3Fault.TRUNCATED:
            body = body[: len(body) // 2]
        answer.write(head + b"\r\n\r\n" + body)

    def _draw(self) -> S3Fault | None:
        point = self._random.random()
        for fault, rate in self.rates.items():
            if point < rate:
                self.injected[fault] += 1
                return fault
            point -= rate
        return None


@contextmanager
def s3_proxy(endpoint: str) -> Iterator[S3Proxy]:
    """A proxy on a port of its own, served by a thread of its own, until the block ends."""
    proxy = S3Proxy(endpoint)
    loop = asyncio.new_event_loop()

    async def start() -> asyncio.Server:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=2**20)
        proxy.port = server.sockets[0].getsockname()[1]
        return server

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _request(head: bytes, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> bytes:
    """The whole request, to be sent on over a connection of its own. The signature covers none of what changes."""
    lines = head.decode("latin-1").split("\r\n")[:-2]
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if "expect" in fields:
        answer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await answer.drain()
    if fields.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunks(client)
    else:
        body = await client.readexactly(int(fields.get("content-length", 0)))
    kept = [line for line in lines if line.partition(":")[0].lower() not in ("expect", "connection")]
    return "\r\n".join([*kept, "Connection: close", "", ""]).encode("latin-1") + body


async def _chunks(client: asyncio.StreamReader) -> bytes:
    """A chunked body as it came, with its trailers."""
    parts: list[bytes] = []
    while True:
        line = await client.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        parts.append(line)
        if size == 0:
            while (trailer := await client.readuntil(b"\r\n")) != b"\r\n":
                parts.append(trailer)
            return b"".join([*parts, b"\r\n"])
        parts.append(await client.readexactly(size + 2))


def _error(fault: S3Fault) -> bytes:
    status, code = ("503 Slow Down", "SlowDown") if fault is S3Fault.SLOW_DOWN else ("500 Error", "InternalError")
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def _reset(answer: asyncio.StreamWriter) -> None:
    """Close with RST rather than FIN, as a crashed peer or a full table of a firewall does."""
    peer = answer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    answer.transport.abort()
