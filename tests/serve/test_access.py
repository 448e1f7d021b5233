"""Requests from other sites, with other host names, or without the token."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from jaxrec.errors import InputError
from jaxrec.serve import access
from jaxrec.serve.access import TOKEN, Access, served_names

SECRET = "0123456789abcdef"


def status(app: Access, host: str = "localhost:8000", path: str = "/recommend", **headers: str) -> int:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return await client.get(path, headers={"host": host, **headers})

    response = asyncio.run(ask())
    assert response.status_code == 200 or response.json()["error"]
    return response.status_code


def local(**options) -> Access:
    return Access(PlainTextResponse("ok"), served_names("127.0.0.1", "127.0.0.1", ["shop.example"]), **options)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:9000", 200),
        ("[::1]:8000", 200),
        ("shop.example", 200),
        ("evil.example:8000", 403),  # resolves to 127.0.0.1: DNS rebinding
        ("localhost.evil.example", 403),
        ("[::1", 200),
        ("", 403),
        ("<script>", 403),
    ],
)
def test_other_host_names_are_refused_on_this_machine(host, expected):
    assert status(local(), host) == expected


def test_a_request_without_a_host_is_told_to_send_one():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(local()({"type": "http", "path": "/health", "headers": []}, None, send))
    assert (sent[0]["status"], sent[1]["body"]) == (403, b'{"error":"send a Host header, e.g. Host: localhost"}')


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:8000", 200),
        ("https://localhost:8000", 200),  # behind a proxy that ends TLS
        ("http://localhost:3000", 403),
        ("http://evil.example", 403),
        ("null", 403),
    ],
)
def test_pages_of_other_sites_are_refused(origin, expected):
    assert status(local(), origin=origin) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {SECRET}"}, 200),
        ({"authorization": f"bearer  {SECRET}"}, 200),
        ({"authorization": f"Bearer {SECRET[:-1]}"}, 401),
        ({"authorization": SECRET}, 401),
        ({"authorization": f"Basic {SECRET}"}, 401),
        ({"authorization": "Bearer żółw".encode()}, 401),
    ],
)
def test_a_token_is_required_where_it_is_set(headers, expected):
    app = Access(PlainTextResponse("ok"), served_names("0.0.0.0", "0.0.0.0", []), SECRET)
    assert status(app, "any.example", **headers) == expected
    assert status(app, "any.example", "/health") == status(app, "any.example", "/") == 200


def test_other_addresses_than_loopback_need_a_token(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    assert [access.token(address) for address in ("127.0.0.1", "127.8.0.1", "::1")] == [None] * 3
    for address in ("0.0.0.0", "192.168.0.7", "::", "fe80::1%eth0"):
        with pytest.raises(InputError, match=f"reachable from other machines: set the environment variable {TOKEN}"):
            access.token(address)
    monkeypatch.setenv(TOKEN, "s3cret")
    with pytest.raises(InputError, match="at least 16 characters") as caught:
        access.token("127.0.0.1")
    assert "s3cret" not in str(caught.value)
    monkeypatch.setenv(TOKEN, SECRET)
    assert access.token("0.0.0.0") == access.token("127.0.0.1") == SECRET
