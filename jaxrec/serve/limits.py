"""What the server bounds: how much one request may ask for, how many may wait, and what is kept in memory."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from jaxrec.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Each is part of conf/serve.yaml.

    batch_sizes:  the last is how many requests share a batch; programs answer 8 at a time, whatever the batch
    window_ms:    milliseconds that a request waits for others to share its batch
    queue:        requests that may wait; one more is turned away with 503
    max_k:        items of a list
    candidates:   so many of the best are re-ranked where diversity or freshness is asked for
    max_history:  items of a posted history, or events of a post
    max_body:     bytes of a request's body
    users:        users whose updates are kept; the least recently seen go first
    user_items:   updates kept of each user, the latest
    half_life_days: an item of this age is half as fresh as a new one
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
    half_life_days: PositiveFloat = 30.0

    def __post_init__(self) -> None:
        if list(self.batch_sizes) != sorted(set(self.batch_sizes)):
            raise InputError(f"limits.batch_sizes={list(self.batch_sizes)}: must grow, such as [1, 8, 32]")
        if self.candidates < self.max_k:
            raise InputError(
                f"limits.candidates={self.candidates}: lists of up to limits.max_k={self.max_k} are made of them, so "
                "there must be as many"
            )
