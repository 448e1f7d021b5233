"""Negatives that all examples of a batch share."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Int
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.negatives.candidates import Negatives, SamplerContext
from jaxrec.negatives.popularity import Popularity
from jaxrec.random import RandomStream


@dataclass(frozen=True)
class BatchShared(Popularity):
    """One set of `ratio` items for a whole batch: its scores are one matrix product where the model factorizes.

    A set may be large for what it costs. An example's own item does not count against it, nor do known ones where
    they are excluded.
    """

    ratio: PositiveInt = 64
    power: NonNegativeFloat = 0.0  # type: ignore[misc]
    mixes: ClassVar[bool] = False

    def __call__(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        given: SamplerContext | None = None,
    ) -> Negatives:
        """Draws [1, ratio] items; the batch is known by its first example."""
        assert given is not None
        column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        items = given.tables.draw(source, n_items, examples[:1, None], column)
        counts = (column < n_negatives) & (items != given.positive[:, None]) & ~given.tables.has(given.user, items)
        return Negatives(items, counts.astype(jnp.float32), given.tables.log_q)
