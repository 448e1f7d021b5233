"""Clients of a server for a while: polite ones, and others that disconnect or are slow."""

import asyncio
import contextlib
import json
import os
import random
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.planted import N_ITEMS, N_USERS

POLITE, RUDE, SLOW = 8, 4, 4  # clients that wait for their answers, that disconnect, that are slow
PAUSE = 0.05  # mean seconds between two requests of a client


class Sample(NamedTuple):
    """What the process of a server holds and has used.

    Attributes:
        memory: resident memory in MiB
        files: open files
        ran: seconds that its threads have run
        waited: seconds that its threads have waited for a core, because others used them
    """

    memory: float
    files: int
    ran: float = 0.0
    waited: float = 0.0


@dataclass
class Load:
    """Clients of a server until a moment, and what they and the process of the server show.

    Attributes:
        port: of the server.
        pid: of its process.
        until: when the clients end, by `time.monotonic`.
        latencies: seconds of each answer to a polite client.
        refused: status of each such answer that is not 200.
        rude: number of requests of clients that disconnected or were slow.
        samples: of the process, once a second.
        error: what ended the clients before; empty: nothing.
    """

    port: int
    pid: int
    until: float
    latencies: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    rude: int = 0
    samples: list[Sample] = field(default_factory=list)
    error: str = ""

    def run(self, put: Callable[["Load"], object]) -> None:
        """Run all clients, and hand over this object in the end."""
        try:
            asyncio.run(self._clients())
        except (OSError, EOFError, ValueError) as error:  # an answer of the server that is none
            self.error = f"{type(error).__name__}: {error}"
        put(self)

    async def _clients(self) -> None:
        polite = [self._polite(random.Random(f"polite {number}")) for number in range(POLITE)]
        rude = [self._disconnecting(random.Random(f"rude {number}")) for number in range(RUDE)]
        slow = [self._slow() for _ in range(SLOW)]
        await asyncio.gather(self._watch(), *polite, *rude, *slow)

    async def _polite(self, draw: random.Random) -> None:
        """Ask for lists and send events over one connection, one after the other."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.closing(writer):
            while time.monotonic() < self.until:
                await asyncio.sleep(draw.expovariate(1 / PAUSE))
                sent = time.monotonic()
                writer.write(request(draw))
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                self.latencies.append(time.monotonic() - sent)
                if (status := int(head[9:12])) != 200:
                    self.refused.append(status)

    async def _disconnecting(self, draw: random.Random) -> None:
        """Send a request or a part of it, and disconnect, half of the times with a reset."""
        while time.monotonic() < self.until:
            await asyncio.sleep(draw.expovariate(1 / PAUSE))
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            text = request(draw)
            writer.write(text[: draw.choice((0, len(text) // 2, len(text) - 1, len(text)))])
            await asyncio.sleep(draw.choice((0, 0.002)))
            if draw.random() < 0.5:
                connected = writer.get_extra_info("socket")
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()
            self.rude += 1

    async def _slow(self) -> None:
        """Send a request byte by byte, until the server closes the connection."""
        while time.monotonic() < self.until:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            with contextlib.closing(writer), contextlib.suppress(ConnectionError):
                for byte in request(random.Random(0)):
                    writer.write(bytes([byte]))
                    await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(1), 0.1)
                        break
            self.rude += 1

    async def _watch(self) -> None:
        while time.monotonic() < self.until:
            self.samples.append(sample(self.pid))
            await asyncio.sleep(1)


def request(draw: random.Random) -> bytes:
    """Return a request for the list of a user, or with an event."""
    user = draw.randrange(N_USERS)
    event = {"user": user, "item": draw.randrange(N_ITEMS)}
    path, body = draw.choice((("recommend", {"user": user}), ("events", {"events": [event]})))
    text = json.dumps(body).encode()
    head = f"POST /{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


def sample(pid: int) -> Sample:
    """Return what a process holds and has used until now."""
    process, times = Path(f"/proc/{pid}"), [0, 0]
    for thread in process.glob("task/*/schedstat"):
        with contextlib.suppress(OSError):  # it has ended
            times = [sum(pair) for pair in zip(times, map(int, thread.read_text().split()), strict=False)]
    pages = int((process / "statm").read_text().split()[1])
    memory, files = pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(list((process / "fd").iterdir()))
    return Sample(memory, files, *(nanoseconds / 1e9 for nanoseconds in times))
