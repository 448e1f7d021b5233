"""Samplers of negatives, drawn on the device inside the compiled epoch."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import PositiveInt

from jaxrec.random import Stream, integers


class Candidates(NamedTuple):
    """Items to hold a positive against; `used` is 1 for those that count, else 0."""

    items: Int[Array, "B N"]
    used: Float[Array, "B N"]


@dataclass(frozen=True)
class Uniform:
    """`ratio` items for each positive, every item equally likely; what a user knows may come up among them.

    `ratio` is the number drawn: the largest in a population. A member uses its first `n_negatives` columns, which are
    what it would draw alone.
    """

    ratio: PositiveInt = 4

    def __call__(
        self, source: Stream, examples: Int[Array, "B"], n_items: int, n_negatives: Int[Array, ""]
    ) -> Candidates:
        """Draws [B, ratio] items for the examples at these positions of the training data."""
        column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        items = integers(source, n_items, examples[:, None], column)
        return Candidates(items, jnp.broadcast_to((column < n_negatives).astype(jnp.float32), items.shape))
