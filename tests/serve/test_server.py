"""Start of the server, and errors that prevent it."""

import socket

import pytest

from jaxrec.errors import InputError
from jaxrec.serve.limits import Limits
from jaxrec.serve.server import _bind


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
