"""Dense layer with features on the last axis, or on the first: the catalog of one user is scored column by column."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class Layer(nn.Module):
    """Dense layer W' x + b.

    With `axis=0` items are columns and contiguous in memory: additions vectorize over them and the product needs no
    transposition, which speeds up scoring a catalog on a CPU (see `pairs`).
    """

    units: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
        """[..., D] → [..., units], or with `axis=0` [D, N] → [units, N]."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[axis], self.units))
        y = x @ kernel if axis == -1 else kernel.T @ x
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.units,))
        return y + jnp.expand_dims(bias, [other for other in range(y.ndim) if other != axis % y.ndim])
