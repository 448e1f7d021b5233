"""Fuzzing of the server application: no response has status 500, and every response is strict JSON."""

import asyncio
import atexit
import functools
import json
from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st

from jaxrec.serve.access import Access, served_names
from jaxrec.serve.endpoints import ENDPOINTS
from jaxrec.serve.service import Service
from tests.fuzz.target import Target
from tests.fuzz.values import cells, scalars, trees
from tests.serve.shop import LIMITS, Client, recommender

KEYS = ["user", "history", "item", "k", "events", "diversity", "freshness", "exclude_seen", "top", "limit", "search"]
STATUS = {200, 400, 401, 403, 404, 405, 413, 415, 422, 503}
users = st.sampled_from(["u1", "u5", "u0", "nobody", 103, "103"]) | scalars
known = st.fixed_dictionaries(
    {},
    optional={
        "user": users,
        "history": st.lists(st.sampled_from([100, 103, "104", 99]) | scalars, max_size=12),
        "item": st.sampled_from([100, "103"]) | scalars,
        "k": st.integers(-1, 12) | scalars,
        "diversity": st.floats() | st.sampled_from([0, 0.5, 1]),
        "freshness": st.floats() | st.sampled_from([0, 0.5, 1]),
        "events": st.lists(st.fixed_dictionaries({"user": users, "item": st.sampled_from([103, 99])}), max_size=12),
    },
)
texts = (known | trees | st.dictionaries(st.sampled_from(KEYS), trees, max_size=3)).map(
    lambda x: json.dumps(x).encode()
)
bodies = texts | st.binary(max_size=30) | st.sampled_from([b"[" * 1900, b'{"user":"\\ud800"}', b"{}", b" " * 3000])
headers = st.dictionaries(
    st.sampled_from([b"content-type", b"content-length", b"host", b"origin", b"authorization", b"x"]),
    st.sampled_from([b"application/json", b"text/plain", b"localhost", b"http://evil", b"-1", b"9" * 40, b""])
    | st.binary(max_size=10),
)
requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "POST", "PUT", "HEAD", "OPTIONS"]),
        "path": st.sampled_from([*(e.path for e in ENDPOINTS), "/", "/metrics", "/openapi.json"]) | st.text(max_size=6),
        "query": st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), cells, max_size=3)
        | st.binary(max_size=9),
        "headers": headers,
        "body": bodies,
        "json": st.booleans(),
    }
)


@functools.cache
def client() -> Client:
    """A server of a popularity model in this process."""
    started = Client(Service.of(recommender("Popularity"), LIMITS, "shop")).__enter__()
    atexit.register(started.__exit__)
    return started


async def answer(request: dict[str, Any]) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send a request to the application, without a client library that would refuse it."""
    query = request["query"]
    if isinstance(query, dict):
        query = urlencode(query, errors="surrogatepass").encode()
    given = {b"host": b"localhost:8000"} | ({b"content-type": b"application/json"} if request["json"] else {})
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": request["method"]}
    scope |= {"path": request["path"], "raw_path": request["path"].encode("utf-8", "replace"), "root_path": ""}
    scope |= {"query_string": query, "headers": [*(given | request["headers"]).items()], "scheme": "http"}
    sent: list[dict[str, Any]] = []
    parts = [{"type": "http.request", "body": request["body"], "more_body": False}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return parts.pop(0) if len(parts) > 1 else parts[0]

    async def send(message: Any) -> None:
        sent.append(message)

    app = Access(client().app, served_names("127.0.0.1", "127.0.0.1", []))
    await asyncio.wait_for(app(scope, receive, send), 10)
    start = sent[0]
    return start["status"], dict(start["headers"]), b"".join(part.get("body", b"") for part in sent[1:])


def check_request(request: dict[str, Any]) -> None:
    """The status is not a server error, and the response is strict JSON."""
    status, answered, body = client().runner.run(answer(request))
    assert status in STATUS, (status, body)
    if answered.get(b"content-type") == b"application/json" and request["method"] != "HEAD":
        found = json.loads(body, parse_constant=lambda name: 1 / 0)
        assert status == 200 or found["error"]


HTTP = Target(requests, check_request)
