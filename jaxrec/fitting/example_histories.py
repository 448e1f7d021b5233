"""Histories of training examples: what else each example's user did, for models that are asked with a history."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxrec.data.histories import histories
from jaxrec.data.interactions import Interactions, user_order
from jaxrec.history import DeviceHistories, History, past

Which = Literal["others", "before"]


class ExampleHistories(NamedTuple):
    """All that users did, and where in it each example's user starts, ends, and the example itself lies."""

    past: DeviceHistories
    start: Int[Array, "E"]
    end: Int[Array, "E"]
    at: Int[Array, "E"]

    def history(self, rows: Int[Array, "B"], length: int, which: Which) -> History:
        """Of the examples at these positions.

        others: the user's latest entries but the example's own, later ones included. Right for splits at random, where
                later interactions are known, too, when a user is asked about
        before: the latest entries before the example. Right for splits by time
        """
        start, at = self.start[rows], self.at[rows]
        if which == "before":
            return self.past.latest(start, at, length)
        return self.past.latest(start, self.end[rows], length, but=at)


def example_histories(train: Interactions, rows: np.ndarray) -> ExampleHistories:
    """For the examples that are these rows of the data; the rows that are none are in the histories all the same."""
    offsets, order = user_order(train)
    position = np.empty(len(train), np.int32)
    position[order] = np.arange(len(train), dtype=np.int32)
    user = train.user[rows]
    start, end, at = (jnp.asarray(x, jnp.int32) for x in (offsets[user], offsets[user + 1], position[rows]))
    return ExampleHistories(past(histories(train)), start, end, at)
