"""A layer whose input has its features on the last axis, or on the first: one user's catalog is ranked by columns."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class Layer(nn.Module):
    """W' x + b.

    By columns, `axis=0`, items lie side by side in memory: additions run over them in one go and the product needs no
    transposition, which matters where a CPU scores a catalog (see `pairs`).
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
