"""Draws from any distribution over 0 .. n - 1 with two look-ups: Walker's alias table.

[Walker 1977; built without a loop by the sweep of Huebschle-Schneider and Sanders 2022, Parallel weighted random
sampling]
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt32

from jaxrec.random import RandomStream, bits, integers, substream

OWN = 301  # number of the stream that decides between a place and whose the rest of it is


class Alias(NamedTuple):
    """Place i stands for itself where 32 random bits are below `below[i]`, else for `other[i]`. 8 bytes a place."""

    below: UInt32[Array, "I"]
    other: Int[Array, "I"]

    def draw(self, source: RandomStream, *counters: Array) -> Int[Array, "*S"]:
        """One number for each combination of counters."""
        place = integers(source, self.below.shape[0], *counters)
        own = bits(substream(source, OWN), *counters) < self.below[place]
        return jnp.where(own, place, self.other[place])


def alias(probabilities: np.ndarray) -> Alias:
    """The table of these probabilities [I], which sum to 1; exact to 2^-32."""
    own, other = shares(probabilities)
    below = np.minimum(np.round(own * 2**32), 2**32 - 1).astype(np.uint32)
    return Alias(jnp.asarray(below), jnp.asarray(np.where(own >= 1, np.arange(len(own)), other), jnp.int32))


def shares(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each place, the share that is its own, and whose the rest is.

    Places with less than the mean are filled up by those with more, both in order; one that has given all its excess
    and more is then filled up by the next. Who fills whom follows from the running sums of what lacks and of excess.
    """
    weight = probabilities * len(probabilities)
    full = min(1.0, weight.max())  # rounded, equal probabilities may all lie below 1
    light, heavy = np.flatnonzero(weight < full), np.flatnonzero(weight >= full)
    lacks, excess = np.cumsum(1 - weight[light]), np.cumsum(weight[heavy] - 1)
    own, other = np.ones(len(weight)), np.arange(len(weight))
    own[light] = weight[light]
    giver = np.searchsorted(excess, lacks - (1 - weight[light]))  # the first not yet exhausted by those before
    other[light] = heavy[np.minimum(giver, len(heavy) - 1)]
    exhausting = np.searchsorted(lacks, excess, side="right")
    drained = exhausting < len(light)
    drained[-1] = False  # what is left over at the end is rounding
    own[heavy[drained]] = 1 - (lacks[exhausting[drained]] - excess[drained])
    other[heavy[drained]] = heavy[np.flatnonzero(drained) + 1]
    return np.clip(own, 0, 1), other
