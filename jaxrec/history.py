"""Histories on the device: everything users did, once, and windows of it as models see them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec.data.histories import UserHistories


class History(NamedTuple):
    """The latest T entries before a moment, oldest first, padded on the left: items by -1, the rest by 0.

    `event` (codes), `gap` (seconds since the entry before) and `value` are there where the data has them.
    """

    items: Int[Array, "B T"]
    event: Int[Array, "B T"] | None = None
    gap: Float[Array, "B T"] | None = None
    value: Float[Array, "B T"] | None = None

    def multihot(self, n_items: int) -> Float[Array, "B I"]:
        """1 for every item that is in a history, 0 for the others."""
        rows = jnp.arange(self.items.shape[0])[:, None]
        # Padding is -1: moved out of range it is dropped, where a negative index would wrap around.
        items = jnp.where(self.items < 0, n_items, self.items)
        return jnp.zeros((self.items.shape[0], n_items)).at[rows, items].set(1.0, mode="drop")

    def counts(self, n_items: int) -> Float[Array, "B I"]:
        """How often every item is in a history."""
        rows = jnp.arange(self.items.shape[0])[:, None]
        items = jnp.where(self.items < 0, n_items, self.items)
        return jnp.zeros((self.items.shape[0], n_items)).at[rows, items].add(1.0, mode="drop")


class DeviceHistories(NamedTuple):
    """What all users did, by user and oldest first; a history is the end of a stretch of it."""

    items: Int[Array, "E"]
    event: Int[Array, "E"] | None = None
    gap: Float[Array, "E"] | None = None
    value: Float[Array, "E"] | None = None

    def latest(
        self, start: Int[Array, "B"], end: Int[Array, "B"], length: int, but: Int[Array, "B"] | None = None
    ) -> History:
        """The last `length` entries of each stretch `start .. end`; what lies at `end` or after is never seen.

        `but` is the position of an entry of each stretch that is left out, as if it had never been.
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
    """The lists of the host as device arrays; an empty one keeps one entry, so that gathers have a target."""

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
