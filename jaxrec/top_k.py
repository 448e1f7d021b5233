"""Exact top k of each row of scores, with ties in order of position."""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from jaxrec import backend
from jaxrec.mesh import ROW, row_devices

GROUP = 16  # items per group
MAX_GROUPS, MAX_K, MIN_ROWS = 1024, 128, 32  # where `_one_by_one` is faster on a CPU than `_of_best_groups`


def top_k(scores: Float[Array, "B I"], k: int) -> tuple[Float[Array, "B K"], Int[Array, "B K"]]:
    """The k largest scores of each row and their positions; ties in order of position.

    NaN in a row makes its result meaningless.
    """
    n_rows, n_items = scores.shape
    how = backend.choices().top_k
    if how == "lax":
        return _by_lax(scores, k)
    if how == "maxima" and n_items <= MAX_GROUPS * GROUP and k <= MAX_K and n_rows >= MIN_ROWS:
        return _one_by_one(scores, k)
    return _of_best_groups(scores, k)


def _of_best_groups(scores: Float[Array, "B I"], k: int) -> tuple[Float[Array, "B K"], Int[Array, "B K"]]:
    """`top_k` by sorting the k groups of items with the largest maxima.

    No other group can contain one of the k best items. Ties keep their order because groups are selected and
    concatenated in order of position.
    """
    n_rows, n_items = scores.shape
    n_groups = -(-n_items // GROUP)
    if n_groups <= 2 * k:
        return _by_lax(scores, k)
    padding = ((0, 0), (0, n_groups * GROUP - n_items))
    groups = jnp.pad(scores, padding, constant_values=-jnp.inf).reshape(n_rows, n_groups, GROUP)
    _, best = _by_lax(jnp.max(groups, axis=2), k)
    best = jnp.sort(best, axis=1)
    candidates = jnp.take_along_axis(groups, best[:, :, None], axis=1).reshape(n_rows, k * GROUP)
    values, at = _by_lax(candidates, k)
    items = jnp.take_along_axis(best, at // GROUP, axis=1) * GROUP + at % GROUP
    return values, items


def _by_lax(scores: Float[Array, "B N"], k: int) -> tuple[Float[Array, "B K"], Int[Array, "B K"]]:
    """`lax.top_k` with -0.0 replaced by 0.0, because it sorts -0.0 below 0.0."""
    return _lax_top_k(k)(jnp.where(scores == 0, 0.0, scores))


@cache
def _lax_top_k(k: int) -> Callable[[Float[Array, "B N"]], tuple[Float[Array, "B K"], Int[Array, "B K"]]]:
    """`lax.top_k` that vmapped members call with all of their rows: a TPU has a kernel for [rows, items] only."""

    @jax.custom_batching.custom_vmap
    def best(scores: Float[Array, "B N"]) -> tuple[Float[Array, "B K"], Int[Array, "B K"]]:
        values, at = jax.lax.top_k(scores, k)
        return values, at

    @best.def_vmap
    def of_members(
        n_members: int, _: object, scores: Float[Array, "P B N"]
    ) -> tuple[tuple[Float[Array, "P B K"], Int[Array, "P B K"]], tuple[bool, bool]]:
        values, at = best(scores.reshape(-1, scores.shape[-1]))
        return (values.reshape(n_members, -1, k), at.reshape(n_members, -1, k)), (True, True)

    return best


def _one_by_one(scores: Float[Array, "B I"], k: int) -> tuple[Float[Array, "B K"], Int[Array, "B K"]]:
    """`top_k` by taking the largest score of all rows k times, from the maxima of groups of items.

    Each step reads the maxima and one group of a row: on a CPU these are vector operations, where `lax.top_k` compares
    one score after another.
    """
    n_rows, n_items = scores.shape
    n_groups = -(-n_items // GROUP)
    rows, groups, places = jnp.arange(n_rows), jnp.arange(n_groups)[None, :], jnp.arange(GROUP)[None, :]
    lowest = jnp.finfo(scores.dtype).min  # stands for -inf, which marks groups that are used up

    def take(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
        maxima, last_value, last_item = state
        value = jnp.max(maxima, axis=1)
        group = jnp.min(jnp.where(maxima == value[:, None], groups, n_groups - 1), axis=1)
        items = group[:, None] * GROUP + places
        own = jnp.maximum(scores.at[rows[:, None], items].get(mode="clip"), lowest)
        own = jnp.where(items < n_items, own, -jnp.inf)
        # Of equal scores, those up to the last item have been taken.
        equal = (own == value[:, None]) & ((value < last_value)[:, None] | (items > last_item[:, None]))
        item = jnp.min(jnp.where(equal, items, n_items - 1), axis=1)
        rest = jnp.where((own < value[:, None]) | (equal & (items > item[:, None])), own, -jnp.inf)
        maxima = maxima.at[rows, group].set(jnp.max(rest, axis=1), mode="promise_in_bounds", unique_indices=True)
        return (maxima, value, item), (value, item)

    padding = (0, 0), (0, n_groups * GROUP - n_items)
    maxima = jax.lax.reduce_window(scores, -jnp.inf, jax.lax.max, (1, GROUP), (1, GROUP), padding)
    start = jnp.maximum(maxima, lowest), jnp.full(n_rows, jnp.inf, scores.dtype), jnp.full(n_rows, -1)
    _, (values, items) = jax.lax.scan(take, start, length=k)
    return jnp.where(values == lowest, -jnp.inf, values).T, items.T


def sharded_top_k(scores: Float[Array, "B I"], k: int) -> tuple[Float[Array, "B K"], Int[Array, "B K"]]:
    """`top_k` of a catalog that may be split over devices: the best of each part, then the best of these.

    Parts are concatenated in order of position, so that ties keep their order.
    """
    if (n_parts := row_devices()) == 1:
        return top_k(scores, k)
    n_items = scores.shape[1]
    width = -(-n_items // n_parts)
    scores = jnp.pad(scores, ((0, 0), (0, n_parts * width - n_items)), constant_values=-jnp.inf)

    def of_part(own: Float[Array, "B W"]) -> tuple[Array, Array]:
        values, items = top_k(own, min(k, width))
        return values, items + jax.lax.axis_index(ROW) * width

    by_items = PartitionSpec(None, ROW)
    parts = jax.shard_map(of_part, in_specs=by_items, out_specs=by_items, axis_names={ROW}, check_vma=False)
    values, items = parts(scores)
    values, at = _by_lax(values, k)
    return values, jnp.take_along_axis(items, at, axis=1)
