"""Folding in: the vector of a user nobody has trained on, solved for their history with the items held fixed.

[Hu, Koren, Volinsky 2008, section 5: p_u = (Q' C Q + lambda I)^-1 Q' C p(u), for any user with a history]
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

CHUNK = 64  # entries of a history whose outer products are added at a time


def fields(model: nn.Module) -> dict[str, Any]:
    """What the model was made with, to make another of the same parameters."""
    own = {field.name for field in dataclasses.fields(model)} - {"parent", "name"}
    return {name: getattr(model, name) for name in own}


def sums(vectors: Float[Array, "I D"], items: Int[Array, "B T"]) -> tuple[Float[Array, "B D D"], Float[Array, "B D"]]:
    """Of the vectors of each row's items: the sum of q q' and the sum of q; items of -1 are none.

    Memory: B x CHUNK x D, and a D x D matrix a row.
    """
    n_rows, dim = items.shape[0], vectors.shape[1]
    padded = jnp.pad(items, ((0, 0), (0, -items.shape[1] % CHUNK)), constant_values=-1)

    def add(total: tuple[Array, Array], chunk: Int[Array, "B C"]) -> tuple[tuple[Array, Array], None]:
        q = jnp.where((chunk >= 0)[:, :, None], vectors[jnp.maximum(chunk, 0)], 0.0)
        return (total[0] + jnp.einsum("bcd,bce->bde", q, q), total[1] + jnp.sum(q, axis=1)), None

    nothing = jnp.zeros((n_rows, dim, dim)), jnp.zeros((n_rows, dim))
    return jax.lax.scan(add, nothing, padded.reshape(n_rows, -1, CHUNK).swapaxes(0, 1))[0]


def cholesky(matrices: Float[Array, "B D D"], right: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Solutions of positive definite systems by Cholesky factorisation."""

    def one(system: tuple[Array, Array]) -> Array:
        matrix, right = system
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix, lower=True), right)

    # Batched, LAPACK's calls wait for threads of the pool that runs them: with as many devices as cores, for ever.
    # In turn they take no longer.
    return jax.lax.platform_dependent(
        (matrices, right), cpu=lambda systems: jax.lax.map(one, systems), default=jax.vmap(one)
    )
