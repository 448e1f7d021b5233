"""Histories of training examples: other interactions of each example's user, for models that read histories."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxrec.data.interactions import Interactions
from jaxrec.history import DeviceHistories, History, device_histories

Which = Literal["others", "before"]


class ExampleHistories(NamedTuple):
    """The history of each example's user, and the example's own position in it."""

    of_user: DeviceHistories
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
        if which == "before":
            return self.of_user.latest(rows, length, before=self.at[rows])
        return self.of_user.latest(rows, length, skip=self.at[rows])


def example_histories(train: Interactions, rows: np.ndarray) -> ExampleHistories:
    """Histories for the examples given by `rows` of the data; histories also contain all other rows."""
    offsets, order = train.user_order
    position = np.empty(len(train), np.int32)
    position[order] = np.arange(len(train), dtype=np.int32)
    user = train.user[rows]
    of_user = device_histories(train.histories, offsets[user], offsets[user + 1])
    return ExampleHistories(of_user, jnp.asarray(position[rows], jnp.int32))
