"""Dropout whose masks depend on the example and the position, not on the batch: see `jaxrec.random`."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrec.hyper import Traced
from jaxrec.random import RandomStream, bits, substream


class Noise(NamedTuple):
    """Random source of one batch's dropout.

    Attributes:
        source: random stream of the epoch
        rows: index of each example in the training data
        step: random stream of the whole batch; None: the model draws nothing by item
    """

    source: RandomStream
    rows: Int[Array, "B"]
    step: RandomStream | None = None


def dropout(x: Float[Array, "B *S"], rate: float | Traced, noise: Noise | None, site: int) -> Float[Array, "B *S"]:
    """Zero entries with probability `rate` and scale up the others; the identity if `noise` is None.

    Every `site` of a model draws independent masks. Positions are counted from the end of each axis, so the mask of a
    history's latest entries does not depend on the amount of padding before them.   [Srivastava et al. 2014]
    """
    if noise is None:
        return x
    along = [jnp.arange(n - 1, -1, -1) for n in x.shape[1:]]
    counters = [
        index.reshape([-1 if axis == own else 1 for axis in range(x.ndim)])
        for own, index in enumerate([noise.rows, *along])
    ]
    return jnp.where(kept(rate, substream(noise.source, site), *counters), x / (1 - rate), 0)


def kept(rate: float | Traced, source: RandomStream, *counters: Int[Array, "..."]) -> Bool[Array, "..."]:
    """Mask that is False with probability `rate`, for each combination of counters."""
    drawn = bits(source, *counters) >> 8
    return drawn >= (jnp.asarray(rate, jnp.float32) * 2**24).astype(jnp.uint32)
