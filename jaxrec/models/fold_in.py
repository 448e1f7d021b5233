"""Fold-in: the vector of a user without training data, solved from the history with item vectors fixed.

Either by least squares, `sums` and `cholesky` [Hu, Koren, Volinsky 2008, section 5], or by maximum a posteriori
estimation under a softmax over the catalog and a Gaussian prior, `most_likely` [Salakhutdinov and Mnih 2008,
Probabilistic matrix factorization; fixed curvature: Boehning 1992, Multinomial logistic regression algorithm].

Test NDCG@10 on 2,000 users of MovieLens-1M, a fifth of them held out (split=new_users, a random 80% of their
interactions known), without tuning: EASE .436 (.410 to .462), iALS .398 (.373 to .424), MF trained by BPR .390 (.364 to
.416), popularity .212.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

CHUNK = 64  # entries of a history whose outer products are added at a time
STEPS = 4


def constructor_arguments(model: nn.Module) -> dict[str, Any]:
    """The constructor arguments of a model, for building another one with the same parameters."""
    own = (field.name for field in dataclasses.fields(model))
    return {name: getattr(model, name) for name in own if name not in ("parent", "name")}


def sums(vectors: Float[Array, "I D"], items: Int[Array, "B T"]) -> tuple[Float[Array, "B D D"], Float[Array, "B D"]]:
    """Sum of q q' and sum of q over the item vectors of each row; items of -1 are padding.

    Memory: B x CHUNK x D, and one D x D matrix per row.
    """
    n_rows, dim = items.shape[0], vectors.shape[1]
    padded = jnp.pad(items, ((0, 0), (-items.shape[1] % CHUNK, 0)), constant_values=-1)

    def add(total: tuple[Array, Array], chunk: Int[Array, "B C"]) -> tuple[tuple[Array, Array], None]:
        q = jnp.where((chunk >= 0)[:, :, None], vectors[jnp.maximum(chunk, 0)], 0.0)
        return (total[0] + jnp.einsum("bcd,bce->bde", q, q), total[1] + jnp.sum(q, axis=1)), None

    nothing = jnp.zeros((n_rows, dim, dim)), jnp.zeros((n_rows, dim))
    return jax.lax.scan(add, nothing, padded.reshape(n_rows, padded.shape[1] // CHUNK, CHUNK).swapaxes(0, 1))[0]


def cholesky(matrices: Float[Array, "B D D"], right: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Solve positive definite linear systems by Cholesky factorization."""

    def one(system: tuple[Array, Array]) -> Array:
        matrix, right = system
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix, lower=True), right)

    # Batched LAPACK calls wait for threads of the pool that runs them, a deadlock with as many devices as cores.
    # Sequential calls take no longer.
    return jax.lax.platform_dependent(
        (matrices, right), cpu=lambda systems: jax.lax.map(one, systems), default=jax.vmap(one)
    )


def most_likely(
    vectors: Float[Array, "I D"], bias: Float[Array, "I"], items: Int[Array, "B T"], variance: Float[Array, ""]
) -> Float[Array, "B D"]:
    """MAP estimate: argmax over p of  sum over the row's items of log softmax(Q p + b)_i  -  |p|^2 / (2 variance).

    Newton steps from p = 0 with the fixed curvature n (Q' (diag(pi) - pi pi') Q) + I / variance, pi = softmax(b). Its
    eigenvectors are those of one matrix shared by all rows, so no factorization per row is needed. After STEPS steps
    the ranked lists no longer change. Items of -1 are padding; a row without items gets 0. Memory: B x I.
    """
    rows = jnp.arange(items.shape[0])[:, None]
    place = jnp.where(items < 0, vectors.shape[0], items)
    chosen = jnp.zeros((items.shape[0], vectors.shape[0])).at[rows, place].add(1.0, mode="drop")
    n = jnp.sum(chosen, axis=1, keepdims=True)
    popular = jax.nn.softmax(bias)
    mean = popular @ vectors
    curvature, basis = jnp.linalg.eigh((vectors.T * popular[None, :]) @ vectors - mean[:, None] * mean[None, :])
    q = vectors @ basis
    step = 1.0 / (n * jnp.maximum(curvature, 0.0)[None, :] + 1.0 / variance)

    def improve(p: Array, _: None) -> tuple[Array, None]:
        likely = jax.nn.softmax(p @ q.T + bias[None, :], axis=1)
        return p + step * ((chosen - n * likely) @ q - p / variance), None

    solution, _ = jax.lax.scan(improve, jnp.zeros((items.shape[0], vectors.shape[1])), None, length=STEPS)
    return solution @ basis.T
