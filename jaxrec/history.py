"""User histories on the device: all interactions stored once, and fixed-length windows as models read them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrec.data.histories import UserHistories, hours
from jaxrec.programs import padded

UNKNOWN = {"event": -1, "gap": -1, "value": float("nan"), "hour": -1}  # columns besides the items


class History(NamedTuple):
    """Batch of histories: the latest T entries, oldest first, padded on the left with item -1 and 0 elsewhere.

    `event` (codes), `gap` (seconds since the previous entry), `value` and `hour` (since 1970) are present if the data
    has them, and `hour` also only if the model reads it. Unknown entries are -1, values NaN.
    """

    items: Int[Array, "B T"]
    event: Int[Array, "B T"] | None = None
    gap: Float[Array, "B T"] | None = None
    value: Float[Array, "B T"] | None = None
    hour: Int[Array, "B T"] | None = None

    def without(self, hidden: Bool[Array, "B T"]) -> "History":
        """The history whose hidden entries have unknown columns, and so has the gap of the entry after each."""
        after = jnp.pad(hidden, ((0, 0), (1, 0)))[:, :-1]

        def masked(name: str) -> Array | None:
            column, mask = getattr(self, name), hidden | after if name == "gap" else hidden
            return None if column is None else jnp.where(mask, jnp.asarray(UNKNOWN[name], column.dtype), column)

        return History(self.items, **{name: masked(name) for name in UNKNOWN})

    def appended(self, item: int) -> "History":
        """The history without its first entry and with this item as its last one, whose other columns are unknown."""

        def moved(column: Array | None, value: float | int) -> Array | None:
            if column is None:
                return None
            return jnp.concatenate([column[:, 1:], jnp.full_like(column[:, :1], value)], axis=1)

        columns = {name: moved(getattr(self, name), value) for name, value in UNKNOWN.items()}
        return History(jnp.concatenate([self.items[:, 1:], jnp.full_like(self.items[:, :1], item)], axis=1), **columns)

    def multihot(self, n_items: int) -> Float[Array, "B I"]:
        """Indicator of items: 1 if an item is in a history, else 0."""
        return self._empty(n_items).at[self._places(n_items)].set(1.0, mode="drop")

    def counts(self, n_items: int) -> Float[Array, "B I"]:
        """Number of occurrences of each item in a history."""
        return self._empty(n_items).at[self._places(n_items)].add(1.0, mode="drop")

    def largest(self, values: Float[Array, "#B T"], n_items: int) -> Float[Array, "B I"]:
        """Largest of the positive values of each item's entries; 0 for an item that is not in a history."""
        return self._empty(n_items).at[self._places(n_items)].max(values, mode="drop")

    def _empty(self, n_items: int) -> Float[Array, "B I"]:
        return jnp.zeros((self.items.shape[0], n_items))

    def _places(self, n_items: int) -> tuple[Int[Array, "B 1"], Int[Array, "B T"]]:
        """Row and item of each entry; padding (-1) is out of range, because a negative index would wrap around."""
        return jnp.arange(self.items.shape[0])[:, None], jnp.where(self.items < 0, n_items, self.items)


class DeviceHistories(NamedTuple):
    """Histories of rows: slices of the interactions of all users, which are stored once, sorted by user and time.

    Attributes:
        start, end: the history of row r is the entries `start[r] : end[r]`
        items, event, gap, value, hour: columns of `History`
    """

    start: Int[Array, "R"]
    end: Int[Array, "R"]
    items: Int[Array, "E"]
    event: Int[Array, "E"] | None = None
    gap: Float[Array, "E"] | None = None
    value: Float[Array, "E"] | None = None
    hour: Int[Array, "E"] | None = None

    def latest(
        self,
        rows: Int[Array, "B"],
        length: int,
        *,
        before: Int[Array, "B"] | None = None,
        skip: Int[Array, "B"] | None = None,
    ) -> History:
        """The last `length` entries of these rows.

        Args:
            rows: indices of rows.
            length: number of entries.
            before: end of each row's entries; None: `end`.
            skip: position of one entry of each row to leave out; None: leave out none.
        """
        start, end = self.start[rows], self.end[rows] if before is None else before
        index = end[:, None] - jnp.arange(length, 0, -1, dtype=end.dtype)[None, :]
        if skip is not None:
            index = index - (index <= skip[:, None]).astype(index.dtype)
        inside = index >= start[:, None]

        def window(column: Array | None, padding: int) -> Array | None:
            if column is None:
                return None
            return jnp.where(inside, column.at[index].get(mode="clip"), jnp.asarray(padding, column.dtype))

        items = window(self.items, -1)
        assert items is not None
        return History(items, *(window(column, 0) for column in (self.event, self.gap, self.value, self.hour)))


def device_histories(
    source: UserHistories, start: np.ndarray | None = None, end: np.ndarray | None = None, *, hour: bool = False
) -> DeviceHistories:
    """Copy histories to the device, one row per user, or one per pair of bounds `start`, `end`; `hour` only on request.

    Columns are padded, see `programs.padded`.
    """

    def column(values: np.ndarray, kind: type) -> Array:
        return jnp.asarray(padded(values, 0), kind)

    def optional(values: np.ndarray | None, kind: type) -> Array | None:
        return None if values is None else column(values, kind)

    return DeviceHistories(
        start=jnp.asarray(source.offsets[:-1] if start is None else start, jnp.int32),
        end=jnp.asarray(source.offsets[1:] if end is None else end, jnp.int32),
        items=column(source.items, jnp.int32),
        event=optional(source.event, jnp.int32),
        gap=optional(source.gap, jnp.float32),
        value=optional(source.value, jnp.float32),
        hour=optional(hours(source.time), jnp.int32) if hour and source.time is not None else None,
    )
