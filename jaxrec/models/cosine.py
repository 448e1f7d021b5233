"""Unit vectors, whose dot products are cosines."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def unit(x: Float[Array, "*S D"]) -> Float[Array, "*S D"]:
    """Vectors scaled to norm 1; zero vectors stay zero."""
    return x * jax.lax.rsqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-12)
