"""Negatives that are the positives of other examples of the batch."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxrec.data.interactions import Interactions
from jaxrec.negatives.candidates import Negatives, SamplerContext, SamplerTables
from jaxrec.negatives.uniform import Uniform
from jaxrec.random import RandomStream


@dataclass(frozen=True)
class InBatch(Uniform):
    """The items of the `ratio` examples that follow in the batch, cyclically; from a batch's size on, of all of it.

    Items come up as often as in the data: a softmax corrects for that by log q.   [Yi et al. 2019, Sampling-bias-
    corrected neural modeling for large corpus item recommendations]   The same item does not count (an accidental hit).
    """

    power: ClassVar[float] = 1.0
    mixes: ClassVar[bool] = False

    def prepare(self, train: Interactions) -> SamplerTables:
        """Nothing is drawn, so that the log of how often items occur is enough."""
        tables: SamplerTables = super().prepare(train)
        return tables._replace(alias=None)

    def __call__(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        given: SamplerContext | None = None,
    ) -> Negatives:
        """Takes [B, ratio] items, or the whole batch as [1, B]."""
        assert given is not None
        size = examples.shape[0]
        # A short batch repeats its last example: what is repeated is no example.
        real = jnp.concatenate([jnp.ones(1, bool), examples[1:] != examples[:-1]])
        place = jnp.arange(size, dtype=jnp.int32)[:, None]
        if self.ratio < size - 1:
            column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
            other = (place + 1 + column) % size
            items, counts = given.positive[other], real[other] & (column < n_negatives)
        else:
            items, after = given.positive[None, :], (place.T - place - 1) % size
            counts = real[None, :] & (after < jnp.minimum(n_negatives, size - 1))
        counts = counts & (items != given.positive[:, None]) & ~given.tables.has(given.user, items)
        return Negatives(items, counts.astype(jnp.float32), given.tables.log_q)
