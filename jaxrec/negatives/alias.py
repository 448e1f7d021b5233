"""Walker's alias table: draws from any distribution over 0 .. n - 1 with two look-ups.

[Walker 1977; construction without a loop: the sweep of Huebschle-Schneider and Sanders 2022, Parallel weighted random
sampling]
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt32

from jaxrec.random import RandomStream, bits, integers, substream

KEEP = 301  # number of the random substream that decides between an entry and its alias


class Alias(NamedTuple):
    """Alias table: entry i yields i if 32 random bits are below `below[i]`, else `other[i]`. 8 bytes per entry."""

    below: UInt32[Array, "I"]
    other: Int[Array, "I"]

    def draw(self, source: RandomStream, *counters: Array) -> Int[Array, "*S"]:
        """Draw one number for each combination of counters."""
        place = integers(source, self.below.shape[0], *counters)
        keep = bits(substream(source, KEEP), *counters) < self.below[place]
        return jnp.where(keep, place, self.other[place])


def alias(probabilities: np.ndarray) -> Alias:
    """Build the alias table of probabilities [I] that sum to 1; exact to 2^-32."""
    keep, other = keep_and_alias(probabilities)
    below = np.minimum(np.round(keep * 2**32), 2**32 - 1).astype(np.uint32)
    return Alias(jnp.asarray(below), jnp.asarray(np.where(keep >= 1, np.arange(len(keep)), other), jnp.int32))


def keep_and_alias(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of keeping each entry, and its alias.

    Entries below the mean probability are filled by entries above it, both in order; an entry that has given more than
    its excess is then filled by the next one. The pairing follows from the cumulative sums of deficits and excesses.
    """
    weight = probabilities * len(probabilities)
    full = min(1.0, weight.max())  # rounded, equal probabilities may all lie below 1
    light, heavy = np.flatnonzero(weight < full), np.flatnonzero(weight >= full)
    deficit, excess = np.cumsum(1 - weight[light]), np.cumsum(weight[heavy] - 1)
    keep, other = np.ones(len(weight)), np.arange(len(weight))
    keep[light] = weight[light]
    giver = np.searchsorted(excess, deficit - (1 - weight[light]))  # first one not exhausted by earlier entries
    other[light] = heavy[np.minimum(giver, len(heavy) - 1)]
    exhausting = np.searchsorted(deficit, excess, side="right")
    drained = exhausting < len(light)
    drained[-1] = False  # the remainder of the last entry is rounding error
    keep[heavy[drained]] = 1 - (deficit[exhausting[drained]] - excess[drained])
    other[heavy[drained]] = heavy[np.flatnonzero(drained) + 1]
    return np.clip(keep, 0, 1), other
