"""Negatives that come with the data: pairs of label 0 in the file that is trained on."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.hyper import Share
from jaxrec.negatives.candidates import Candidates, Given, Tables, chosen
from jaxrec.negatives.uniform import Uniform
from jaxrec.ragged import Ragged, ragged
from jaxrec.random import Stream, bits, substream

PLACES, FROM_LIST = 401, 402  # numbers of streams


class ListedTables(NamedTuple):
    """Tables of the random negatives, and each user's list."""

    random: Tables
    lists: Ragged


@dataclass(frozen=True)
class Listed(Uniform):
    """Negatives from each user's own list, every entry equally likely; random ones for users without a list.

    share: of negatives that come from the list; the others are uniform
    Memory: 8 bytes a pair of label 0.
    """

    share: Share = 0.5

    def prepare(self, train: Interactions) -> ListedTables:
        """The lists; refused where the data has none."""
        if train.negatives is None:
            raise InputError(
                f"negatives=given draws from rows of label 0, and {train.name} has none: name the column in "
                "data.label_column, or choose negatives=uniform"
            )
        user, item = train.negatives  # by user
        offsets = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=train.n_users))])
        return ListedTables(self._random.prepare(train), ragged(offsets, item))

    def probabilities(self, train: Interactions) -> np.ndarray | None:
        """Those of an item differ from user to user."""
        return None

    def __call__(
        self,
        source: Stream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        given: Given | None = None,
    ) -> Candidates:
        """Draws [B, ratio] items."""
        assert given is not None
        tables: ListedTables = given.tables
        random = self._random(source, examples, n_items, n_negatives, given._replace(tables=tables.random))
        column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        at = examples[:, None], column
        start, end = (tables.lists.offsets[given.user + i][:, None] for i in (0, 1))
        length = jnp.maximum(end - start, 1).astype(jnp.uint32)
        place = start + (bits(substream(source, PLACES), *at) % length).astype(jnp.int32)
        listed = Candidates.first(tables.lists.items.at[place].get(mode="clip"), n_negatives)
        return listed.where(chosen(substream(source, FROM_LIST), self.share, *at) & (end > start), random)

    @property
    def _random(self) -> Any:
        return Uniform(self.ratio, self.exclude_known)
