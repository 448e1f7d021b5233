"""Uniform negative sampling."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PyTree

from jaxrec.data.interactions import Interactions, targets
from jaxrec.errors import InputError
from jaxrec.hyper import Share
from jaxrec.membership import known
from jaxrec.negatives.alias import Alias, alias
from jaxrec.negatives.candidates import Negatives, SamplerContext, SamplerTables, bernoulli, log
from jaxrec.negatives.sampler import Sampler, SharedBy
from jaxrec.random import RandomStream, substream

ATTEMPTS = 2  # draws before an item that the user has is masked instead


@dataclass(frozen=True)
class Uniform(Sampler):
    """Draws `ratio` items for each positive uniformly from the catalog.

    Attributes:
        exclude_known: exclude items that the user has in train: they are redrawn once, and masked if the user has the
            second item too. Memory: see `jaxrec.membership.known`
    """

    exclude_known: bool = False

    power: ClassVar[float] = 0.0
    mixes: ClassVar[bool] = True  # draws per example, so it can be part of a mixture

    def prepare(self, train: Interactions) -> PyTree:
        """Tables of this sampler."""
        return SamplerTables(
            known(train) if self.exclude_known else None, *_alias(self.probabilities(train), self.power)
        )

    def probabilities(self, train: Interactions) -> np.ndarray | None:
        """Sampling probability of each item, float64 [I]; None if it depends on the model or the user."""
        weight = np.bincount(targets(train).item, minlength=train.n_items).astype(np.float64) ** self.power
        return weight / weight.sum()

    def __call__(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        context: SamplerContext | None = None,
    ) -> Negatives:
        """Draw [B, ratio] items; without context uniformly, and without exclusion."""
        if context is None and (self.power or self.exclude_known):
            raise InputError(
                "this loss draws negatives without access to users and positives: choose negatives=uniform with "
                "negatives.exclude_known=false"
            )
        column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        tables: SamplerTables = SamplerTables() if context is None else context.tables
        drawn = Negatives.first(tables.draw(source, n_items, examples[:, None], column), n_negatives, tables.log_q)
        if context is None or tables.known is None:
            return drawn
        items = drawn.items
        has = tables.has(context.user, items)
        for attempt in range(1, ATTEMPTS):
            again = tables.draw(substream(source, attempt), n_items, examples[:, None], column)
            items = jnp.where(has, again, items)
            has = has & tables.has(context.user, items)
        return Negatives(items, drawn.used * (~has).astype(jnp.float32), tables.log_q)

    def shared(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        context: SamplerContext,
    ) -> Negatives:
        """Draw one set [1, ratio] for all positions of a batch of windows."""
        column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        tables: SamplerTables = context.tables
        return Negatives.first(tables.draw(source, n_items, examples[:1, None], column), n_negatives, tables.log_q)

    def excluded(self, tables: PyTree, user: Int[Array, "B"], items: Int[Array, "1 N"]) -> Bool[Array, "B N"] | None:
        """Whether each user has these items in train; None unless `exclude_known`."""
        return tables.has(user, items) if self.exclude_known else None


@dataclass(frozen=True)
class PartlyUniform(Uniform):
    """Base class of samplers that draw a share of the negatives by `draw_nonuniform` and the others uniformly.

    Users for whom `draw_nonuniform` has no items get uniform negatives only. The tables of a subclass contain those of
    the uniform sampler as `random`.

    Attributes:
        share: share of negatives drawn by `draw_nonuniform`
    """

    share: Share = 0.5

    shares: ClassVar[tuple[SharedBy, ...]] = ("position", "user")
    picks: ClassVar[int]  # number of the random substream that chooses between `draw_nonuniform` and uniform

    def draw_nonuniform(
        self, source: RandomStream, context: SamplerContext, rows: Int[Array, "B 1"], columns: Int[Array, "1 N"]
    ) -> tuple[Int[Array, "B N"], Bool[Array, "B N"]]:
        """Draw items for these examples and columns, and whether there are any."""
        raise NotImplementedError

    def probabilities(self, train: Interactions) -> np.ndarray | None:
        """None: the probabilities differ between users."""
        return None

    @property
    def uniform(self) -> Uniform:
        """Sampler of the other negatives."""
        return Uniform(self.ratio, self.exclude_known)

    def __call__(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        context: SamplerContext | None = None,
    ) -> Negatives:
        """Draw [B, ratio] items."""
        assert context is not None
        random = self.uniform(source, examples, n_items, n_negatives, context._replace(tables=context.tables.random))
        at = examples[:, None], jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        items, there = self.draw_nonuniform(source, context, *at)
        picked = bernoulli(substream(source, self.picks), self.share, *at) & there
        return Negatives.first(items, n_negatives).where(picked, random)


def _alias(probabilities: np.ndarray | None, power: float) -> tuple[Alias | None, Array | None]:
    """Alias table and log q; None for uniform probabilities."""
    if probabilities is None or not power:
        return None, None
    return alias(probabilities), log(probabilities)
