"""Limits of the server: request sizes, queue length, and memory for user updates."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from jaxrec.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Limits of the server, as in conf/serve.yaml.

    Args:
        batch_sizes: the last value is the maximum number of requests in a batch; programs score 8 rows at a time.
        window_ms: maximum time a request waits to be batched, in milliseconds.
        queue: maximum number of waiting requests; further ones get status 503.
        max_k: maximum list length.
        candidates: number of top items re-ranked for diversity or freshness.
        max_history: maximum number of items in a posted history, and of events per request.
        max_body: maximum size of a request body, in bytes.
        users: maximum number of users with stored updates; the least recently used is evicted.
        user_items: maximum number of stored updates per user, the latest.
        event_mib: maximum memory for stored updates, in MiB; beyond it, the least recently used users are evicted.
        connections: maximum number of open connections; further ones are closed with status 503.
        request_seconds: time that a client has to send a request, and to read the response.
        max_header: maximum size of the request line and headers, in bytes.
        half_life_days: age at which an item is half as fresh as a new one, in days.
    """

    batch_sizes: tuple[PositiveInt, ...] = (1, 8, 32)
    window_ms: NonNegativeFloat = 1.0
    queue: PositiveInt = 256
    max_k: PositiveInt = 100
    candidates: PositiveInt = 200
    max_history: PositiveInt = 500
    max_body: Annotated[int, Field(ge=256)] = 65_536
    users: PositiveInt = 100_000
    user_items: PositiveInt = 500
    event_mib: PositiveInt = 64
    connections: PositiveInt = 512
    request_seconds: PositiveFloat = 10.0
    max_header: Annotated[int, Field(ge=1024)] = 16_384
    half_life_days: PositiveFloat = 30.0

    def __post_init__(self) -> None:
        if list(self.batch_sizes) != sorted(set(self.batch_sizes)):
            raise InputError(
                f"limits.batch_sizes={list(self.batch_sizes)}: must be strictly increasing, e.g. [1, 8, 32]"
            )
        if self.candidates < self.max_k:
            raise InputError(f"limits.candidates={self.candidates}: must be at least limits.max_k={self.max_k}")
