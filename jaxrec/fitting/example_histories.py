"""Histories of training examples: other interactions of each example's user, for models that read histories."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxrec.data.histories import histories
from jaxrec.data.interactions import Interactions
from jaxrec.history import DeviceHistories, History, past

Which = Literal["others", "before"]


class ExampleHistories(NamedTuple):
    """All interactions, and for each example the bounds of its user's interactions and its own position in them."""

    past: DeviceHistories
    start: Int[Array, "E"]
    end: Int[Array, "E"]
    at: Int[Array, "E"]

    def history(self, rows: Int[Array, "B"], length: int, which: Which) -> History:
        """Histories of the examples `rows`.

        Args:
            rows: indices of examples.
            length: number of entries.
            which: "others": the user's latest entries except the example itself, including later ones; for random
                splits, where later interactions are known at evaluation. "before": the latest entries before the
                example; for splits by time.
        """
        start, at = self.start[rows], self.at[rows]
        if which == "before":
            return self.past.latest(start, at, length)
        return self.past.latest(start, self.end[rows], length, but=at)


def example_histories(train: Interactions, rows: np.ndarray) -> ExampleHistories:
    """Histories for the examples given by `rows` of the data; histories also contain all other rows."""
    offsets, order = train.user_order
    position = np.empty(len(train), np.int32)
    position[order] = np.arange(len(train), dtype=np.int32)
    user = train.user[rows]
    start, end, at = (jnp.asarray(x, jnp.int32) for x in (offsets[user], offsets[user + 1], position[rows]))
    return ExampleHistories(past(histories(train)), start, end, at)
