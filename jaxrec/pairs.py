"""Scores of every user with every item by a model that does not factorize, in tiles that a core's cache holds."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

TILE_FLOATS = 1 << 17  # numbers that a tile takes: half of a core's second-level cache of 1 MiB


def every_pair(
    score: Callable[[PyTree, PyTree], Float[Array, "N"]], users: PyTree, items: PyTree, floats: int
) -> Float[Array, "B I"]:
    """`score(user, items)` of each user.

    score:  of the parts of one user with the parts of any number of items
    users:  parts of users, arrays whose first axis is users
    items:  parts of items, arrays whose last axis is items
    floats: numbers that a pair takes while it is scored

    On a CPU a tile of items stays in the cache while user after user is scored with it, and nothing but scores is ever
    as large as the catalog. Accelerators score all at once and hold `floats` for each pair.
    """
    return jax.lax.platform_dependent(
        users,
        items,
        cpu=lambda users, items: _by_tiles(score, users, items, floats),
        default=jax.vmap(score, in_axes=(0, None)),
    )


def _by_tiles(
    score: Callable[[PyTree, PyTree], Float[Array, "N"]], users: PyTree, items: PyTree, floats: int
) -> Float[Array, "B I"]:
    n_items = jax.tree.leaves(items)[0].shape[-1]
    n_tiles = -(-n_items * floats // TILE_FLOATS)
    width = -(-n_items // n_tiles)
    rest = n_items - (n_tiles - 1) * width

    def score_tile(start: Array) -> Float[Array, "B N"]:
        tile = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, width, x.ndim - 1), items)
        return jax.lax.map(lambda user: score(user, tile), users)

    # All tiles are as wide: the last one begins within the one before, and what it has twice is left out.
    scores = jax.lax.map(score_tile, jnp.minimum(jnp.arange(n_tiles) * width, n_items - width))
    scores = scores.swapaxes(0, 1).reshape(-1, n_tiles * width)
    return jnp.concatenate([scores[:, : n_items - rest], scores[:, -rest:]], axis=1)
