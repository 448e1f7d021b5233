"""Negatives shared by all examples of a batch."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Int
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.mesh import whole_batch
from jaxrec.negatives.candidates import Negatives, SamplerContext
from jaxrec.negatives.popularity import Popularity
from jaxrec.negatives.sampler import SharedBy
from jaxrec.random import RandomStream


@dataclass(frozen=True)
class BatchShared(Popularity):
    """One set of `ratio` items per batch, whose scores are one matrix product for factorized models.

    Large sets are cheap. The set excludes an example's own item and, if `exclude_known`, the user's known items.
    """

    ratio: PositiveInt = 64
    power: NonNegativeFloat = 0.0  # type: ignore[misc]
    mixes: ClassVar[bool] = False
    shares: ClassVar[tuple[SharedBy, ...]] = ("batch",)

    def __call__(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        context: SamplerContext | None = None,
    ) -> Negatives:
        """Draw [1, ratio] items; the index of the first example identifies the batch."""
        assert context is not None
        column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        items = context.tables.draw(source, n_items, whole_batch(examples)[:1, None], column)
        counts = (
            (column < n_negatives) & (items != context.positive[:, None]) & ~context.tables.has(context.user, items)
        )
        return Negatives(items, counts.astype(jnp.float32), context.tables.log_q)
