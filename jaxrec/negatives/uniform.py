"""Negatives of which every item is equally likely."""

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
from jaxrec.negatives.candidates import Negatives, SamplerContext, SamplerTables, chosen, log
from jaxrec.negatives.sampler import Sampler
from jaxrec.random import RandomStream, substream

ATTEMPTS = 2  # draws until an item that its user knows is left out instead


@dataclass(frozen=True)
class Uniform(Sampler):
    """`ratio` items for each positive, every item equally likely.

    exclude_known: never an item that the user has in train. What comes up is drawn again, once; an item that is known
        then too does not count. Memory: see `jaxrec.membership.known`
    """

    exclude_known: bool = False

    power: ClassVar[float] = 0.0
    mixes: ClassVar[bool] = True

    def prepare(self, train: Interactions) -> PyTree:
        """The tables of this sampler."""
        return SamplerTables(
            known(train) if self.exclude_known else None, *_alias(self.probabilities(train), self.power)
        )

    def probabilities(self, train: Interactions) -> np.ndarray | None:
        """How likely each item is to be drawn, float64 [I]; None where that depends on the model."""
        weight = np.bincount(targets(train).item, minlength=train.n_items).astype(np.float64) ** self.power
        return weight / weight.sum()

    def __call__(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        given: SamplerContext | None = None,
    ) -> Negatives:
        """Draws [B, ratio] items for the examples at these positions of the training data."""
        if given is None and (self.power or self.exclude_known):
            raise InputError(
                "this loss draws negatives without looking at the data: negatives=uniform with "
                "negatives.exclude_known=false is what it can use"
            )
        column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        tables: SamplerTables = SamplerTables() if given is None else given.tables
        drawn = Negatives.first(tables.draw(source, n_items, examples[:, None], column), n_negatives, tables.log_q)
        if given is None or tables.known is None:
            return drawn
        items = drawn.items
        has = tables.has(given.user, items)
        for attempt in range(1, ATTEMPTS):
            again = tables.draw(substream(source, attempt), n_items, examples[:, None], column)
            items = jnp.where(has, again, items)
            has = has & tables.has(given.user, items)
        return Negatives(items, drawn.used * (~has).astype(jnp.float32), tables.log_q)


@dataclass(frozen=True)
class PartlyUniform(Uniform):
    """A share of the negatives is the sampler's `own`, where it has any for the user; the others are uniform.

    Its tables have those of the uniform ones as `random`.
    """

    share: Share = 0.5

    picks: ClassVar[int]  # number of the stream that says which negatives are its own

    def own(
        self, source: RandomStream, given: SamplerContext, rows: Int[Array, "B 1"], columns: Int[Array, "1 N"]
    ) -> tuple[Int[Array, "B N"], Bool[Array, "B N"]]:
        """Items for these examples and columns, and whether there are any."""
        raise NotImplementedError

    def probabilities(self, train: Interactions) -> np.ndarray | None:
        """Unknown: those of an item differ from user to user."""
        return None

    @property
    def uniform(self) -> Uniform:
        """What draws the others."""
        return Uniform(self.ratio, self.exclude_known)

    def __call__(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        given: SamplerContext | None = None,
    ) -> Negatives:
        """Draws [B, ratio] items."""
        assert given is not None
        random = self.uniform(source, examples, n_items, n_negatives, given._replace(tables=given.tables.random))
        at = examples[:, None], jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        items, there = self.own(source, given, *at)
        picked = chosen(substream(source, self.picks), self.share, *at) & there
        return Negatives.first(items, n_negatives).where(picked, random)


def _alias(probabilities: np.ndarray | None, power: float) -> tuple[Alias | None, Array | None]:
    """The alias table and log q; nothing where all items are alike."""
    if probabilities is None or not power:
        return None, None
    return alias(probabilities), log(probabilities)
