"""Cross-entropy over the whole catalog for scores that are not dot products, e.g. `jaxrec.models.mixture`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from jaxrec import backend

POSITIONS = 8  # positions of a block on a CPU
FLOATS = 128  # floats of a pair elsewhere, those of a mixture of 16 products and its gradient

Gradients = tuple[Partial, Float[Array, "P D"], Float[Array, "I D2"]]


@jax.custom_vjp
def pairwise_cross_entropy(
    compare: Partial,
    h: Float[Array, "P D"],
    vectors: Float[Array, "I D2"],
    target: Int[Array, "P"],
    weight: Float[Array, "P"],
) -> Float[Array, ""]:
    """Weighted sum of logsumexp(s) - s_target with s = compare(h, vectors'); no gradient for the weights.

    Like `sequence_losses.catalog_cross_entropy`, a block of positions at a time with its gradient in the same pass:
    P products and their gate for every pair are far too many numbers to store. Positions of weight 0 come last, and a
    CPU leaves them out.

    Args:
        compare: function of query vectors [B, D] and item vectors as columns [D2, N]; its leaves have gradients.
        h: query vectors.
        vectors: item vectors of the whole catalog.
        target: target items.
        weight: weights of the positions.
    """
    return _with_gradients(compare, h, vectors, target, weight)[0]


def _with_gradients(
    compare: Partial,
    h: Float[Array, "P D"],
    vectors: Float[Array, "I D2"],
    target: Int[Array, "P"],
    weight: Float[Array, "P"],
) -> tuple[Float[Array, ""], Gradients]:
    n, n_items = target.shape[0], vectors.shape[0]
    budget = backend.choices().loss_block
    size = min(n, backend.block(budget, n_items * FLOATS) if budget else POSITIONS)
    order = jnp.pad(jnp.argsort(weight <= 0, stable=True), (0, -n % size), constant_values=n)
    columns = vectors.T

    def of_block(
        compare: Callable[[Array, Array], Array], q: Array, columns: Array, item: Array, w: Array
    ) -> Float[Array, ""]:
        scores = compare(q, columns)
        chosen = jnp.take_along_axis(scores, item[:, None], axis=1)[:, 0]
        return jnp.sum(w * (jax.nn.logsumexp(scores, axis=1) - chosen))

    def add(number: Array, sums: tuple[Array, Gradients]) -> tuple[Array, Gradients]:
        total, (dcompare, dh, dcolumns) = sums
        at = jax.lax.dynamic_slice_in_dim(order, number * size, size)
        q, w, item = (x.at[at].get(mode="fill", fill_value=0) for x in (h, weight, jnp.maximum(target, 0)))
        cost, (of_compare, of_q, of_columns) = jax.value_and_grad(of_block, (0, 1, 2))(compare, q, columns, item, w)
        dcompare = jax.tree.map(jnp.add, dcompare, of_compare)
        return total + cost, (dcompare, dh.at[at].set(of_q, mode="drop"), dcolumns + of_columns)

    n_real = jnp.sum((weight > 0).astype(jnp.int32))
    n_blocks = -(-n_real // size) if backend.choices().branches else len(order) // size
    zeros = jax.tree.map(jnp.zeros_like, (compare, h, columns))
    total, (dcompare, dh, dcolumns) = jax.lax.fori_loop(0, n_blocks, add, (jnp.float32(0), zeros))
    return total, (dcompare, dh, dcolumns.T)


def _scaled(
    gradients: Gradients, scale: Float[Array, ""]
) -> tuple[Partial, Float[Array, "P D"], Float[Array, "I D2"], None, None]:
    return *jax.tree.map(lambda x: scale * x, gradients), None, None


pairwise_cross_entropy.defvjp(_with_gradients, _scaled)
