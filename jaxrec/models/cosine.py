"""Unit vectors, whose dot products are cosines."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def unit(x: Float[Array, "*S D"]) -> Float[Array, "*S D"]:
    """Vectors x / |x|; zero vectors stay zero, with zero gradient."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.where(square > 0, square, 1.0))


def smoothed_unit(x: Float[Array, "*S D"]) -> Float[Array, "*S D"]:
    """Vectors x / sqrt(|x|² + 1e-12), almost of norm 1: the gradient stays bounded where x is almost 0."""
    return x * jax.lax.rsqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-12)
