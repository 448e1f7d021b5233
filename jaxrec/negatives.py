"""Samplers of negatives, drawn on the device inside the compiled epoch."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray
from pydantic import PositiveInt


class Candidates(NamedTuple):
    """Items to hold a positive against, and which of them count."""

    items: Int[Array, "B N"]
    used: Bool[Array, "B N"]


@dataclass(frozen=True)
class Uniform:
    """`ratio` items for each positive, every item equally likely; what a user knows may come up among them.

    `ratio` is the number drawn: the largest in a population. A member uses its first `n_negatives` columns, and as
    every column has a key of its own these are what it would draw alone.
    """

    ratio: PositiveInt = 4

    def __call__(
        self, key: PRNGKeyArray, positives: Int[Array, "B"], n_items: int, n_negatives: Int[Array, ""]
    ) -> Candidates:
        """Draws [B, ratio] items."""
        column = jnp.arange(self.ratio)
        draw = jax.vmap(lambda c: jax.random.randint(jax.random.fold_in(key, c), positives.shape, 0, n_items))
        used = jnp.broadcast_to((column < n_negatives)[None, :], (*positives.shape, self.ratio))
        return Candidates(draw(column).T, used)
