"""Hard negatives: items that the model ranks high for users who do not have them, mixed with random negatives.

The highest ranks may contain false negatives, i.e. items the user would like, and can be skipped.   [Ding et al. 2020,
Simplify and robustify negative sampling for implicit collaborative filtering]
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

PLACES, FROM_MINED = 201, 202  # numbers of random substreams


class HardTables(NamedTuple):
    """Tables of the random negatives, and the alias table of ranks among the mined ones; None: uniform."""

    random: SamplerTables
    places: Alias | None


@dataclass(frozen=True)
class Hard(PartlyUniform):
    """Negatives from ranks `ranks[0]` to `ranks[1]` of the model's own ranking of the whole catalog.

    Attributes:
        ranks: first and last rank, from 1, without the user's items in train. The top ranks may contain false
            negatives: including rank 1 lowers accuracy on MovieLens, see docs/negatives.md
        share: share of mined negatives; the others are uniform
        warmup: initial epochs with uniform negatives only, because an untrained model ranks randomly
        refresh: epochs between minings
        power: mined items are drawn with probability proportional to 1 / place^power, place 1 being ranks[0]; 0:
            uniform
        pool: rank this many random items, redrawn at each mining, instead of the catalog; `ranks` then refer to the
            pool

    Memory: users x (ranks[1] - ranks[0] + 1) int32 per member, and during mining another users x ranks[1] x 1.5.
    """

    ranks: tuple[PositiveInt, PositiveInt] = (100, 500)
    warmup: NonNegativeInt = 5
    refresh: PositiveInt = 5
    power: NonNegativeFloat = 0.0  # type: ignore[misc]
    pool: PositiveInt | None = None

    picks = FROM_MINED

    def __post_init__(self) -> None:
        if self.ranks[0] > self.ranks[1]:
            raise InputError(
                f"negatives.ranks={list(self.ranks)}: the first rank must not exceed the last, e.g. [100, 500]"
            )

    @property
    def width(self) -> int:
        """Number of mined items per user."""
        return self.ranks[1] - self.ranks[0] + 1

    def prepare(self, train: Interactions) -> HardTables:
        """Tables of mined and random negatives."""
        if (most := self.pool or train.n_items) < self.ranks[1]:
            what = "items of the catalog" if self.pool is None else "items of negatives.pool"
            raise InputError(
                f"negatives.ranks={list(self.ranks)} exceed the {most:,} {what}: choose ranks up to {most:,}"
            )
        weight = np.arange(1, self.width + 1) ** -float(self.power)
        places = alias(weight / weight.sum()) if self.power else None
        return HardTables(self.uniform.prepare(train), places)

    def draw_nonuniform(
        self, source: RandomStream, context: SamplerContext, rows: Int[Array, "B 1"], columns: Int[Array, "1 N"]
    ) -> tuple[Int[Array, "B N"], Bool[Array, "B N"]]:
        """Draw mined items of each user, and whether there are any."""
        places, table = substream(source, PLACES), context.tables.places
        drawn = integers(places, self.width, rows, columns) if table is None else table.draw(places, rows, columns)
        mined = context.mined[context.user[:, None], drawn]
        return mined, mined >= 0
