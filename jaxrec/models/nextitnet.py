"""NextItNet: dilated causal convolutions over the items of a history.

Per block x = x + ReLU(LN(C_2d ReLU(LN(C_d x)))), where C_d is a convolution of three taps with dilation d, and
score(u, i) = <x_T, e_i> + b_i.   [Yuan et al. 2019, A simple convolutional generative network for next item
recommendation, figure 3b]
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from pydantic import PositiveInt

from jaxrec.hyper import Traced
from jaxrec.models.dropout import Noise, dropout
from jaxrec.models.encoder import Encoder
from jaxrec.models.sequence import Context, Rate


class NextItNet(Encoder):
    """A causal convolutional network.

    Attributes:
        history_length: see `SequenceModel`
        embedding_dim: embedding dimension; static, because layer normalization depends on it
        dilations: dilation of the first convolution of each block; that of the second is twice as large. With kernel
            size k the receptive field is 1 + 3 (k - 1) sum(dilations) items
        kernel_size: taps of a convolution
        dropout: dropout rate of the embeddings; traced
        init_std: root-mean-square norm of an initial item vector

    Fidelity: the second residual block of the paper. Input and output items share one table, where the paper has two,
    and the embeddings have dropout, which the paper does not.
    """

    dilations: tuple[PositiveInt, ...] = (1, 4)
    kernel_size: PositiveInt = 3
    dropout: Rate | Traced = 0.2
    has_item_bias = True

    def setup(self) -> None:
        super().setup()
        self.blocks = [Block(self.embedding_dim, self.kernel_size, dilation) for dilation in self.dilations]

    def hidden(self, items: Int[Array, "B T"], noise: Noise | None, context: Context | None) -> Float[Array, "B T D"]:
        """Outputs of the last block at every position."""
        x, real = self.with_inputs(self.embedded(items, noise), items, context)
        x = dropout(x, self.dropout, noise, 0)
        x = jnp.where(real[:, :, None], x, 0)
        for block in self.blocks:
            x = block(x, real)
        return x[:, -items.shape[1] :]


class Block(nn.Module):
    """Residual block of two dilated causal convolutions."""

    dim: int
    kernel_size: int
    dilation: int

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], real: Bool[Array, "B T"]) -> Float[Array, "B T D"]:
        inner = x
        for i, dilation in enumerate((self.dilation, 2 * self.dilation)):
            inner = nn.Dense(self.dim, name=f"convolution_{i}")(taps(inner, self.kernel_size, dilation))
            # Outputs at padding are 0, like positions before the window.
            inner = jnp.where(real[:, :, None], jax.nn.relu(nn.LayerNorm(name=f"norm_{i}")(inner)), 0)
        return x + inner


def taps(x: Float[Array, "B T D"], kernel_size: int, dilation: int) -> Float[Array, "B T KD"]:
    """Each position concatenated with those 1, 2, … dilations before it; 0 before the start of the window.

    A convolution is then one matrix product, much faster on a CPU than a convolution with few channels.
    """
    length = x.shape[1]
    before = [jnp.pad(x, ((0, 0), (i * dilation, 0), (0, 0)))[:, :length] for i in range(kernel_size)]
    return jnp.concatenate(before, axis=2)
