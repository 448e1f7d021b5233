"""Start of the server, and errors that prevent it."""

import socket

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from jaxrec.errors import InputError
from jaxrec.serve import server
from jaxrec.serve.limits import Limits
from jaxrec.serve.server import _bind
from tests.serve.shop import LIMITS, recommender


def test_a_port_in_use_is_named():
    with _bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on host=127.0.0.1 port={port}: .*; choose another"):
            _bind("127.0.0.1", port)


def test_programs_are_compiled_before_the_server_listens():
    with _bind("127.0.0.1", 0) as bound, pytest.raises(ConnectionRefusedError):
        socket.create_connection(bound.getsockname(), timeout=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_sizes": (8, 1)}, r"limits.batch_sizes=\[8, 1\]: must be strictly increasing"),
        ({"candidates": 50}, "limits.candidates=50"),
    ],
)
def test_contradictory_limits(changes, message):
    with pytest.raises(InputError, match=message):
        Limits(**changes)


def test_requests_are_answered_with_one_thread_of_blas(monkeypatch):
    """Its others would spin between the requests, on cores that serve them."""
    seen = []
    monkeypatch.setattr(server.gc, "freeze", lambda: None)  # of all objects of the tests
    monkeypatch.setattr(server, "load", lambda run: recommender("Popularity"))
    monkeypatch.setattr(server._Announced, "run", lambda self, sockets: seen.append(threadpool_info()))
    with threadpool_limits(2, "blas"):
        server.run("shop", "127.0.0.1", 0, (), LIMITS)
    assert {library["num_threads"] for library in seen[0] if library["user_api"] == "blas"} == {1}
