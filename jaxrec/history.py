"""User histories on the device: all interactions stored once, and fixed-length windows as models read them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec.data.histories import UserHistories


class History(NamedTuple):
    """Batch of histories: the latest T entries, oldest first, padded on the left with item -1 and 0 elsewhere.

    `event` (codes), `gap` (seconds since the previous entry) and `value` are present if the data has them.
    """

    items: Int[Array, "B T"]
    event: Int[Array, "B T"] | None = None
    gap: Float[Array, "B T"] | None = None
    value: Float[Array, "B T"] | None = None

    def multihot(self, n_items: int) -> Float[Array, "B I"]:
        """Indicator of items: 1 if an item is in a history, else 0."""
        rows = jnp.arange(self.items.shape[0])[:, None]
        # Padding (-1) is moved out of range and dropped; a negative index would wrap around.
        items = jnp.where(self.items < 0, n_items, self.items)
        return jnp.zeros((self.items.shape[0], n_items)).at[rows, items].set(1.0, mode="drop")

    def counts(self, n_items: int) -> Float[Array, "B I"]:
        """Number of occurrences of each item in a history."""
        rows = jnp.arange(self.items.shape[0])[:, None]
        items = jnp.where(self.items < 0, n_items, self.items)
        return jnp.zeros((self.items.shape[0], n_items)).at[rows, items].add(1.0, mode="drop")


class DeviceHistories(NamedTuple):
    """Interactions of all users in one array, sorted by user and time; a history is a slice of it."""

    items: Int[Array, "E"]
    event: Int[Array, "E"] | None = None
    gap: Float[Array, "E"] | None = None
    value: Float[Array, "E"] | None = None

    def latest(
        self, start: Int[Array, "B"], end: Int[Array, "B"], length: int, but: Int[Array, "B"] | None = None
    ) -> History:
        """Histories of the last `length` entries of each slice `start .. end` (`end` exclusive).

        Args:
            start: first entry of each slice.
            end: end of each slice.
            length: number of entries.
            but: position of one entry of each slice to skip; None: skip none.
        """
        index = end[:, None] - jnp.arange(length, 0, -1, dtype=end.dtype)[None, :]
        if but is not None:
            index = index - (index <= but[:, None]).astype(index.dtype)
        inside = index >= start[:, None]

        def window(column: Array | None, padding: int) -> Array | None:
            if column is None:
                return None
            return jnp.where(inside, column.at[index].get(mode="clip"), jnp.asarray(padding, column.dtype))

        items = window(self.items, -1)
        assert items is not None
        return History(items, *(window(column, 0) for column in self[1:]))


def past(source: UserHistories) -> DeviceHistories:
    """Copy host histories to the device; empty ones keep one dummy entry, because gathers need a non-empty array."""

    def column(values: np.ndarray, kind: type) -> Array:
        return jnp.asarray(values if len(values) else np.zeros(1), kind)

    def optional(values: np.ndarray | None, kind: type) -> Array | None:
        return None if values is None else column(values, kind)

    return DeviceHistories(
        items=column(source.items, jnp.int32),
        event=optional(source.event, jnp.int32),
        gap=optional(source.gap, jnp.float32),
        value=optional(source.value, jnp.float32),
    )
