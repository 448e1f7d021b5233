"""Negatives that come with the data: pairs of label 0 in the file that is trained on."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.negatives.candidates import SamplerContext, SamplerTables
from jaxrec.negatives.uniform import PartlyUniform
from jaxrec.ragged import Ragged, ragged
from jaxrec.random import RandomStream, bits, substream

PLACES, FROM_LIST = 401, 402  # numbers of streams


class ListedTables(NamedTuple):
    """Tables of the random negatives, and each user's list."""

    random: SamplerTables
    lists: Ragged


@dataclass(frozen=True)
class ListedNegatives(PartlyUniform):
    """Negatives from each user's own list, every entry equally likely; random ones for users without a list.

    share: of negatives that come from the list; the others are uniform
    Memory: 8 bytes a pair of label 0.
    """

    picks = FROM_LIST

    def prepare(self, train: Interactions) -> ListedTables:
        """The lists; refused where the data has none."""
        if train.negatives is None:
            raise InputError(
                f"negatives=given draws from rows of label 0, and {train.name} has none: name the column in "
                "data.label_column, or choose negatives=uniform"
            )
        user, item = train.negatives  # by user
        offsets = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=train.n_users))])
        return ListedTables(self.uniform.prepare(train), ragged(offsets, item))

    def own(
        self, source: RandomStream, given: SamplerContext, rows: Int[Array, "B 1"], columns: Int[Array, "1 N"]
    ) -> tuple[Int[Array, "B N"], Bool[Array, "B N"]]:
        """Entries of each user's list."""
        lists: Ragged = given.tables.lists
        start, end = (lists.offsets[given.user + i][:, None] for i in (0, 1))
        length = jnp.maximum(end - start, 1).astype(jnp.uint32)
        place = start + (bits(substream(source, PLACES), rows, columns) % length).astype(jnp.int32)
        return lists.items.at[place].get(mode="clip"), jnp.broadcast_to(end > start, place.shape)
