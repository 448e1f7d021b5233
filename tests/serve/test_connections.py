"""Clients that are slow, many, or send too much, over sockets."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from jaxrec.serve.connections import limited
from jaxrec.serve.limits import Limits

LIMITS = Limits(connections=4, request_seconds=0.4, max_header=1024, max_body=256)
Connect = Callable[[], socket.socket]


async def app(scope, receive, send):
    """Respond with 1 MB to /large and "ok" to other paths, after reading the body."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    body = b"x" * 10_000_000 if scope["path"] == "/large" else b"ok"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def server() -> Iterator[uvicorn.Server]:
    config = uvicorn.Config(app, port=0, http=limited(LIMITS), ws="none", lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server
    server.should_exit = True
    thread.join()


@pytest.fixture
def connect(server) -> Iterator[Connect]:
    address = server.servers[0].sockets[0].getsockname()
    while server.server_state.connections:  # connections of the previous test
        time.sleep(0.01)
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection(address, timeout=5))


def answer(client: socket.socket) -> bytes:
    """Return everything received until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65_536):
            received += part
    return received


def drip(client: socket.socket, start: bytes, part: bytes) -> bytes:
    """Send a start, then a part every 50 ms until the server closes the connection; return the response."""
    client.sendall(start)
    for _ in range(40):
        client.settimeout(0.05)
        try:
            return client.recv(65_536)
        except TimeoutError:
            with contextlib.suppress(ConnectionError):
                client.sendall(part)
    raise AssertionError("the connection is still open")


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"x: y\r\n"),
        (b"", b"\r\n"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n", b"x"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["silent", "headers", "empty lines", "body", "chunks"],
)
def test_slow_requests_are_closed(connect, start, part):
    found = drip(connect(), start, part)
    assert found.startswith(b"HTTP/1.1 408") or (start.startswith(b"POST") and found == b"")


def test_a_slow_second_request_is_closed(connect):
    client = connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.recv(65_536).endswith(b"ok")
    assert drip(client, b"GET /", b"x").startswith(b"HTTP/1.1 408")


def test_requests_of_one_connection_do_not_add_up(connect):
    """Together they are larger and take longer than one request may."""
    client = connect()
    for _ in range(12):
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nx: " + 100 * b"y" + b"\r\n\r\n")
        assert client.recv(65_536).endswith(b"ok")
        time.sleep(0.05)


def test_a_client_that_does_not_read_is_closed(connect, server):
    client = connect()
    client.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    started = time.monotonic()
    while server.server_state.connections or not server.server_state.total_requests:
        assert time.monotonic() - started < 5
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * 2000, b"431"),
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\na: " + b"a" * 2000, b"431"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200, b"431"),
        (b"\r\n" * 2000, b"431"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1" + b"0" * 30 + b"\r\n\r\n", b"400"),
    ],
)
def test_requests_that_are_too_large_or_invalid(connect, sent, status):
    client = connect()
    client.sendall(sent)
    assert answer(client).split()[1:2] == [status]


def test_an_endless_body_is_closed(connect):
    client = connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 1_000_000:
            client.sendall(b"100\r\n" + b"x" * 256 + b"\r\n")
            sent += 256
            time.sleep(0.001)
    assert sent < 1_000_000


def test_connections_beyond_the_limit_are_refused_and_others_work(connect):
    idle = [connect() for _ in range(LIMITS.connections - 1)]
    time.sleep(0.05)
    last = connect()
    last.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert last.recv(65_536).endswith(b"ok")
    assert answer(connect()).startswith(b"HTTP/1.1 503")
    assert len(idle) == 3
