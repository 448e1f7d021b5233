"""Ragged item lists on the device, one per row, e.g. the known or the relevant items of each user."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrec import backend
from jaxrec.programs import padded

NO_ROW = np.iinfo(np.int32).max  # owner of an entry that no row has: scatters drop it


class Ragged(NamedTuple):
    """Ragged lists: row r is `items[offsets[r]:offsets[r + 1]]`; `owners`: row of each entry, for `mask_block`."""

    offsets: Int[Array, "R1"]
    items: Int[Array, "E"]
    owners: Int[Array, "E"] | None

    def contains(self, rows: Int[Array, "B"], items: Int[Array, "B N"]) -> Bool[Array, "B N"]:
        """Whether each item is in its row, by binary search; rows must be sorted by item."""
        low = jnp.broadcast_to(self.offsets[rows][:, None], items.shape)
        high = jnp.broadcast_to(self.offsets[rows + 1][:, None], items.shape)
        end = high

        def halve(bounds: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bounds
            middle = (low + high) // 2
            below = (low < high) & (self.items.at[middle].get(mode="clip") < items)
            return jnp.where(below, middle + 1, low), jnp.where(below | (low >= high), high, middle)

        if backend.choices().branches:  # as often as the longest of these rows needs
            low, _ = jax.lax.while_loop(lambda bounds: jnp.any(bounds[0] < bounds[1]), halve, (low, high))
        else:
            n_halvings = int(self.items.shape[0]).bit_length()
            low, _ = jax.lax.fori_loop(0, n_halvings, lambda _, bounds: halve(bounds), (low, high))
        return (low < end) & (self.items.at[low].get(mode="clip") == items)

    def mask_block(
        self,
        scores: Float[Array, "B I"],
        first_row: Int[Array, ""],
        max_entries: int,
        place: Int[Array, "C"] | None = None,
    ) -> Float[Array, "B I"]:
        """Set scores to -inf at the items of rows `first_row` .. `first_row + B`.

        One flat scatter over the block's entries; a padded [B, longest row] scatter would mostly write padding.

        Args:
            scores: scores of the block.
            first_row: first row of the block.
            max_entries: maximum number of entries in a block.
            place: column in `scores` of each item of the catalog, out of range if absent; None: columns are items.
        """
        assert self.owners is not None
        entry = self.offsets[first_row] + jnp.arange(max_entries, dtype=self.offsets.dtype)
        # Entries after the block's last row get an out-of-range row, which the scatter drops.
        row = self.owners.at[entry].get(mode="fill", fill_value=NO_ROW) - first_row
        items = self.items.at[entry].get(mode="clip")
        at = row, items if place is None else place[items]
        if backend.choices().rank_sequential:
            return scores.at[at].set(-jnp.inf, mode="drop")
        # Vmapped members share the mask; a scatter into the scores of each would be many times as large.
        masked = jnp.zeros(scores.shape, bool).at[at].set(True, mode="drop")
        return jnp.where(masked, -jnp.inf, scores)


def ragged(offsets: np.ndarray, items: np.ndarray, *, owned: bool = True) -> Ragged:
    """Copy offsets [R + 1] and items [E] to the device, with `owners` if `owned`; padded, see `programs.padded`."""
    entries, owners = jnp.asarray(padded(items, -1), jnp.int32), None
    if owned:
        owner = np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets))
        owners = jnp.asarray(padded(owner, NO_ROW))
    return Ragged(jnp.asarray(offsets, jnp.int32), entries, owners)


def sort_rows(offsets: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Sort items within each row (on the host), as `contains` requires."""
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return items[np.lexsort((items, row))]
