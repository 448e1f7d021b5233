"""Relative biases of attention: learned numbers by the distance between positions and by the time between events.

b_ij = p[i - j] + w[floor(log(t_i - t_j) / .301)] for each head, in whole seconds of at least 1; t_i is the time of the
event at position i.   [Shaw et al. 2018, Self-attention with relative position representations; Zhai et al. 2024]
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MAX_DISTANCE = 127  # largest distance between positions with a bias of its own
TIME_BUCKETS = 64  # the last one starts after 5.5 years
BUCKET_WIDTH = 0.301  # in the natural logarithm of seconds, as in the code of Zhai et al.: 35% longer each


def relative_biases(
    block: nn.Module, n_heads: int, n: int | None, elapsed: Int[Array, "B T T"] | None
) -> list[Float[Array, "#B H T T"]]:
    """Biases of attention from the tables `distance` and `elapsed` of a block, which are zero at first.

    Args:
        block: the module that owns the tables.
        n_heads: number of heads; each has its own numbers.
        n: number of positions; None: no bias by distance. Distances of `MAX_DISTANCE` and more share one.
        elapsed: see `time_buckets`; None: no bias by time.
    """
    biases = []
    if n is not None:
        table, place = block.param("distance", nn.initializers.zeros, (n_heads, MAX_DISTANCE + 1)), jnp.arange(n)
        biases.append(table[:, jnp.clip(place[:, None] - place[None, :], 0, MAX_DISTANCE)][None])
    if elapsed is not None:
        table = block.param("elapsed", nn.initializers.zeros, (n_heads, TIME_BUCKETS))
        of_pairs = jnp.where((elapsed >= 0)[None], table[:, jnp.maximum(elapsed, 0)], 0)
        biases.append(of_pairs.swapaxes(0, 1))
    return biases


def time_buckets(gap: Float[Array, "B T"], is_event: Bool[Array, "B T"]) -> Int[Array, "B T T"]:
    """Buckets of the time from event j to a later event i, at [:, i, j]; -1 if it is unknown.

    Args:
        gap: seconds since the previous event, negative if unknown.
        is_event: which positions hold an event.
    """
    unknown = gap < 0
    # Whole numbers: a difference of two sums is exact, however long ago the history began, and wraps after 136 years.
    seconds = jnp.cumsum(jnp.round(jnp.where(unknown, 0, gap)).astype(jnp.uint32), axis=1, dtype=jnp.uint32)
    between = jnp.maximum(seconds[:, :, None] - seconds[:, None, :], 1).astype(jnp.float32)
    bucket = jnp.minimum(jnp.floor(jnp.log(between) / BUCKET_WIDTH), TIME_BUCKETS - 1).astype(jnp.int32)
    breaks = jnp.cumsum(unknown, axis=1, dtype=jnp.int32)
    known = (breaks[:, :, None] == breaks[:, None, :]) & is_event[:, :, None] & is_event[:, None, :]
    return jnp.where(known, bucket, -1)
