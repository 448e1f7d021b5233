"""In-batch negatives: the positives of other examples of the batch."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxrec.data.interactions import Interactions
from jaxrec.mesh import places_in_batch, whole_batch
from jaxrec.negatives.candidates import Negatives, SamplerContext, SamplerTables
from jaxrec.negatives.sampler import SharedBy
from jaxrec.negatives.uniform import Uniform
from jaxrec.random import RandomStream, bits


@dataclass(frozen=True)
class InBatch(Uniform):
    """Items of the next `ratio` examples of the batch, cyclically; of the whole batch if `ratio` reaches its size.

    Items occur with their frequency in the data, which a softmax corrects by log q. Negatives equal to the positive
    (accidental hits) are not used.   [Yi et al. 2019, Sampling-bias-corrected neural modeling for large corpus item
    recommendations]
    """

    power: ClassVar[float] = 1.0
    mixes: ClassVar[bool] = False
    shares: ClassVar[tuple[SharedBy, ...]] = ("batch",)

    def prepare(self, train: Interactions) -> SamplerTables:
        """Log frequencies of items; no alias table, because nothing is drawn."""
        tables: SamplerTables = super().prepare(train)
        return tables._replace(alias=None)

    def __call__(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        context: SamplerContext | None = None,
    ) -> Negatives:
        """Take [B, ratio] items, or the whole batch as [1, B]."""
        assert context is not None
        place = places_in_batch(examples.shape[0])[:, None]
        examples, positive = whole_batch(examples), whole_batch(context.positive)
        size = examples.shape[0]
        # A short batch is padded by repeating its last example.
        real = jnp.concatenate([jnp.ones(1, bool), examples[1:] != examples[:-1]])
        if self.ratio < size - 1:
            column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
            other = (place + 1 + column) % size
            items, counts = positive[other], real[other] & (column < n_negatives)
        else:
            every = jnp.arange(size, dtype=jnp.int32)[None, :]
            items, after = positive[None, :], (every - place - 1) % size
            counts = real[None, :] & (after < jnp.minimum(n_negatives, size - 1))
        counts = counts & (items != context.positive[:, None]) & ~context.tables.has(context.user, items)
        return Negatives(items, counts.astype(jnp.float32), context.tables.log_q)

    def shared(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        context: SamplerContext,
    ) -> Negatives:
        """Draw one set [1, ratio] of the batch's targets, with replacement."""
        target = context.positive.reshape(-1)
        (place,) = jnp.nonzero(target >= 0, size=target.shape[0])
        n = jnp.maximum(jnp.sum((target >= 0).astype(jnp.uint32)), 1)
        column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        drawn = (bits(source, examples[:1, None], column) % n).astype(jnp.int32)
        return Negatives.first(jnp.maximum(target[place[drawn]], 0), n_negatives, context.tables.log_q)
