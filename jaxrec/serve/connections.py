"""HTTP connections with limits that uvicorn lacks: their number, the size of headers, and the time of slow clients."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jaxrec.serve.limits import Limits

CHECKS = 4  # of a connection, within the seconds that a client has


class _Limited(HttpToolsProtocol):
    limits: Limits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head, self._received = True, 0
        self._since: float | None = None  # time when the request that is being read began
        self._timer: asyncio.TimerHandle | None = None
        self._unsent_for = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        if len(self.connections) > self.limits.connections:
            self._refuse(b"503 Service Unavailable")
        self._check()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._since is None:
            self._since = self.loop.time()
        self._received += len(data)
        super().data_received(data)
        largest = self.limits.max_header + (0 if self._in_head else 8 * self.limits.max_body)
        if self._received > largest and not self.transport.is_closing():
            self._refuse(b"431 Request Header Fields Too Large" if self._in_head else b"413 Content Too Large")

    def on_headers_complete(self) -> None:
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self.limits.max_header:
            raise ValueError("the headers are too large")  # answered with status 400
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._received, self._since = True, 0, None
        super().on_message_complete()

    def _check(self) -> None:
        """Close the connection if its request takes too long, or if its client does not read the response."""
        seconds = self.limits.request_seconds
        self._unsent_for = self._unsent_for + 1 if self.transport.get_write_buffer_size() else 0
        if self._unsent_for > CHECKS:
            self.transport.abort()
            return
        if self._since is not None and self.loop.time() - self._since > seconds and not self.transport.is_closing():
            self._refuse(b"408 Request Timeout")
        self._timer = self.loop.call_later(seconds / CHECKS, self._check)

    def _refuse(self, status: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:  # otherwise the line would end up in a response
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


def limited(limits: Limits) -> type[HttpToolsProtocol]:
    """Return the protocol class for uvicorn; connections beyond the limits are closed with a status of 4xx or 503."""
    return type("Limited", (_Limited,), {"limits": limits})
