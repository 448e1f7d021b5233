"""Scores of all user-item pairs by a model that does not factorize, in tiles that fit into a core's cache."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

TILE_FLOATS = 1 << 17  # floats per tile: half of a core's 1 MiB L2 cache


def every_pair(
    score: Callable[[PyTree, PyTree], Float[Array, "N"]], users: PyTree, items: PyTree, floats: int
) -> Float[Array, "B I"]:
    """Scores of every user with every item.

    On a CPU a tile of items stays in the cache while all users are scored against it, and only the scores are as large
    as the catalog. Accelerators score all pairs at once and allocate `floats` for each.

    Args:
        score: function of the parts of one user and the parts of any number of items.
        users: parts of users, arrays whose first axis is users.
        items: parts of items, arrays whose last axis is items.
        floats: floats allocated per user-item pair during scoring.
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

    # All tiles have the same width: the last one overlaps the one before, and the overlap is dropped.
    scores = jax.lax.map(score_tile, jnp.minimum(jnp.arange(n_tiles) * width, n_items - width))
    scores = scores.swapaxes(0, 1).reshape(-1, n_tiles * width)
    return jnp.concatenate([scores[:, : n_items - rest], scores[:, -rest:]], axis=1)
