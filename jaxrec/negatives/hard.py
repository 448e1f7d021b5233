"""Negatives that a model ranks high for a user who has not chosen them, and random ones between.

What ranks highest may be what the user would like: the first ranks may be left out.   [Ding et al. 2020, Simplify and
robustify negative sampling for implicit collaborative filtering, on such false negatives]
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Int
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.negatives.alias import Alias, alias
from jaxrec.negatives.candidates import SamplerContext, SamplerTables
from jaxrec.negatives.uniform import PartlyUniform
from jaxrec.random import RandomStream, integers, substream

PLACES, FROM_MINED = 201, 202  # numbers of streams


class HardTables(NamedTuple):
    """Tables of the random negatives, and the alias table of places among the mined; None: all alike."""

    random: SamplerTables
    places: Alias | None


@dataclass(frozen=True)
class Hard(PartlyUniform):
    """Negatives from ranks `ranks[0]` to `ranks[1]` of the model's own ranking of the whole catalog.

    ranks:   first and last, from 1; what a user has in train is left out before. The top may be full of what the user
             would like: ranks from 1 on hurt on MovieLens, see docs/negatives.md
    share:   of negatives that are mined; the others are uniform
    warmup:  epochs on uniform negatives alone: what a fresh model ranks high is noise
    refresh: epochs between two minings
    power:   a place among the mined is drawn in proportion to 1 / place^power; 0: all alike
    pool:    so many items, drawn anew each time, are ranked in place of the catalog (ranks are those in the pool)

    Memory: users x (ranks[1] - ranks[0] + 1) int32 a member, and while it mines one and a half as much for each rank
    up to ranks[1].
    """

    ranks: tuple[PositiveInt, PositiveInt] = (100, 500)
    warmup: NonNegativeInt = 5
    refresh: PositiveInt = 5
    power: NonNegativeFloat = 0.0  # type: ignore[misc]
    pool: PositiveInt | None = None

    picks = FROM_MINED

    def __post_init__(self) -> None:
        if self.ranks[0] > self.ranks[1]:
            raise InputError(f"negatives.ranks={list(self.ranks)}: the first rank must not exceed the last")

    @property
    def width(self) -> int:
        """Mined items a user."""
        return self.ranks[1] - self.ranks[0] + 1

    def prepare(self, train: Interactions) -> HardTables:
        """The tables of both kinds of negatives."""
        if (most := self.pool or train.n_items) < self.ranks[1]:
            what = "items of the catalog" if self.pool is None else "items of negatives.pool"
            raise InputError(
                f"negatives.ranks={list(self.ranks)} go beyond the {most:,} {what}: choose ranks that are there"
            )
        weight = np.arange(1, self.width + 1) ** -float(self.power)
        places = alias(weight / weight.sum()) if self.power else None
        return HardTables(self.uniform.prepare(train), places)

    def own(
        self, source: RandomStream, given: SamplerContext, rows: Int[Array, "B 1"], columns: Int[Array, "1 N"]
    ) -> tuple[Int[Array, "B N"], Bool[Array, "B N"]]:
        """What was mined of each user, where anything was."""
        places, table = substream(source, PLACES), given.tables.places
        drawn = integers(places, self.width, rows, columns) if table is None else table.draw(places, rows, columns)
        mined = given.mined[given.user[:, None], drawn]
        return mined, mined >= 0
