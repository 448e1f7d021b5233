"""Batches of windows in chunks that fit into the cache of a CPU core.

Windows are sorted by length and each chunk is cut to its longest window, because most of a batch would otherwise be
padding. The gradient of each chunk is computed at once and accumulated, so memory does not grow with the batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxrec import backend
from jaxrec.models.model import Params
from jaxrec.models.sequence import Context

MIN_LENGTH = 8  # chunks are cut to 1/2 or 1/4 of the history length, but not below this


class SequenceBatch(NamedTuple):
    """Inputs and targets of one batch; positions without a target have `target` -1 and `weight` 0.

    `context` is present if the model reads more than items.
    """

    rows: Int[Array, "B"]
    items: Int[Array, "B T"]
    target: Int[Array, "B T"]
    weight: Float[Array, "B T"]
    context: Context | None = None

    def latest(self, n: int) -> "SequenceBatch":
        """The last `n` positions."""
        return jax.tree.map(lambda x: x[:, -n:] if x.ndim == 2 else x, self)


def in_chunks(
    cost_of: Callable[[Params, SequenceBatch], Array], params: Params, batch: SequenceBatch
) -> Float[Array, ""]:
    """The sum of `cost_of(params, chunk)` over chunks, with the gradient of each chunk computed in the same pass.

    This is possible because the cost is a plain sum over chunks: the gradient of a chunk depends on no other chunk.
    """
    n_rows, length = batch.items.shape
    size = min(n_rows, max(1, (backend.choices().encode_block or n_rows * length) // length))
    lengths = sorted({length} | {n for n in (length // 2, length // 4) if n >= MIN_LENGTH})
    used = jnp.max(jnp.where(batch.items >= 0, length - jnp.arange(length)[None, :], 0), axis=1)
    order = jnp.argsort(-used)
    short = -n_rows % size
    order = jnp.pad(order, (0, short))
    chunks = jax.tree.map(lambda x: x[order].reshape(-1, size, *x.shape[1:]), batch)
    counts = (jnp.arange(n_rows + short) < n_rows).astype(jnp.float32).reshape(-1, size, 1)
    chunks = chunks._replace(weight=chunks.weight * counts)
    longest = used[order].reshape(-1, size)[:, 0]
    branch = jnp.searchsorted(jnp.asarray(lengths), longest)

    def cut(n: int) -> Callable[[Params, SequenceBatch], PyTree]:
        def gradient(params: Params, chunk: SequenceBatch) -> PyTree:
            return jax.value_and_grad(cost_of)(params, chunk.latest(n))

        return gradient

    branches = [cut(n) for n in lengths]

    @jax.custom_vjp
    def total(params: Params) -> Float[Array, ""]:
        return with_gradient(params)[0]

    def with_gradient(params: Params) -> tuple[Array, PyTree]:
        def add(sums: PyTree, piece: tuple[Array, SequenceBatch]) -> tuple[PyTree, None]:
            branch, chunk = piece
            of_chunk = jax.lax.switch(branch, branches, params, chunk)
            return jax.tree.map(jnp.add, sums, of_chunk), None

        start = jnp.float32(0), jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(add, start, (branch, chunks))[0]

    total.defvjp(with_gradient, lambda gradient, scale: (jax.tree.map(lambda x: scale * x, gradient),))
    return total(params)
