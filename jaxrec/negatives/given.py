"""Negatives listed in the data: training pairs with label 0."""

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

PLACES, FROM_LIST = 401, 402  # numbers of random substreams


class ListedTables(NamedTuple):
    """Tables of the random negatives, and the list of each user."""

    random: SamplerTables
    lists: Ragged


@dataclass(frozen=True)
class ListedNegatives(PartlyUniform):
    """Negatives drawn uniformly from each user's list of label-0 items; random ones for users without a list.

    Attributes:
        share: share of negatives from the list; the others are uniform

    Memory: 8 bytes per pair with label 0.
    """

    picks = FROM_LIST

    def prepare(self, train: Interactions) -> ListedTables:
        """The lists of all users. Raises an InputError if the data has none."""
        if train.negatives is None:
            raise InputError(
                f"negatives=given draws from rows with label 0, but {train.name} has none: set data.label_column to "
                "the label column, or choose negatives=uniform"
            )
        user, item = train.negatives  # by user
        offsets = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=train.n_users))])
        return ListedTables(self.uniform.prepare(train), ragged(offsets, item))

    def draw_nonuniform(
        self, source: RandomStream, context: SamplerContext, rows: Int[Array, "B 1"], columns: Int[Array, "1 N"]
    ) -> tuple[Int[Array, "B N"], Bool[Array, "B N"]]:
        """Draw entries of each user's list."""
        lists: Ragged = context.tables.lists
        start, end = (lists.offsets[context.user + i][:, None] for i in (0, 1))
        length = jnp.maximum(end - start, 1).astype(jnp.uint32)
        place = start + (bits(substream(source, PLACES), rows, columns) % length).astype(jnp.int32)
        return lists.items.at[place].get(mode="clip"), jnp.broadcast_to(end > start, place.shape)
