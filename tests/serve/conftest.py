"""Fixtures: clients of servers of a small shop."""

from collections.abc import Callable

import pytest

from jaxrec.serve.service import Service
from tests.serve.shop import LIMITS, Client, recommender


@pytest.fixture(scope="module")
def asked() -> Callable[[str], Client]:
    """`asked("EASE")`: the client of a server of this model, started once."""
    clients: dict[str, Client] = {}

    def of(name: str) -> Client:
        if name not in clients:
            clients[name] = Client(Service.of(recommender(name), LIMITS, "shop")).__enter__()
        return clients[name]

    yield of
    for client in clients.values():
        client.__exit__(None, None, None)
