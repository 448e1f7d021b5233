"""LRURec: linear recurrent units over the items of a history, computed for all positions at once.

x_0 = LN(e); per block z_t = lambda * z_(t-1) + gamma * B x_t with complex lambda, |lambda| < 1, and
gamma = sqrt(1 - |lambda|^2), then x = LN(x + Re(C z)), then x = LN(x + W_2 GELU(W_1 x));
score(u, i) = <x_T, e_i> + b_i.
[Orvieto et al. 2023, Resurrecting recurrent neural networks for long sequences; Yue et al. 2024, Linear recurrent units
for sequential recommendation]
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float, Int
from pydantic import PositiveInt

from jaxrec.hyper import Traced
from jaxrec.models.dropout import Noise, dropout
from jaxrec.models.encoder import Encoder
from jaxrec.models.sequence import Context, Rate

MIN_DECAY, MAX_DECAY = 0.8, 0.99  # initial absolute values of lambda


class LRURec(Encoder):
    """Stacked linear recurrent units, each followed by a feed-forward network.

    Attributes:
        history_length: see `SequenceModel`
        embedding_dim: dimension of item vectors; static, because layer normalization depends on it
        n_blocks: number of blocks
        expansion: size of the complex state in embedding dimensions
        dropout: dropout rate of the embeddings and of sublayer outputs; traced
        init_std: root-mean-square norm of an initial item vector

    Fidelity: the paper's blocks with its initial lambdas, whose phases are uniform between 0 and 2 pi, without biases
    of B and C. A scan takes log2(T) steps, like the paper's recursive halving.
    """

    n_blocks: PositiveInt = 2
    expansion: PositiveInt = 2
    dropout: Rate | Traced = 0.2
    has_item_bias = True

    def setup(self) -> None:
        super().setup()
        self.embedding_norm = nn.LayerNorm()
        self.blocks = [Block(self.embedding_dim, self.expansion, self.dropout) for _ in range(self.n_blocks)]

    def hidden(self, items: Int[Array, "B T"], noise: Noise | None, context: Context | None) -> Float[Array, "B T D"]:
        """Outputs of the last block at every position."""
        x, real = self.with_inputs(self.embedded(items, noise), items, context)
        x = dropout(self.embedding_norm(x), self.dropout, noise, 0)
        for i, block in enumerate(self.blocks):
            x = block(x, real, noise, 1 + 2 * i)
        return x[:, -items.shape[1] :]


class Block(nn.Module):
    """A linear recurrent unit, then a position-wise feed-forward network."""

    dim: int
    expansion: int
    dropout: float | Traced

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], real: Bool[Array, "B T"], noise: Noise | None, site: int
    ) -> Float[Array, "B T D"]:
        n = self.expansion * self.dim
        size = jnp.exp(-jnp.exp(self.param("log_decay", _log_decay, (n,))))
        phase = self.param("phase", nn.initializers.uniform(2 * jnp.pi), (n,))
        given = [nn.Dense(n, use_bias=False, name=f"input_{part}")(x) for part in ("real", "imaginary")]
        gain = jnp.where(real[:, :, None], jnp.sqrt(1 - size**2), 0)  # padding leaves the state at 0
        decay = jax.lax.complex(size * jnp.cos(phase), size * jnp.sin(phase))
        z = linear_recurrence(decay, jax.lax.complex(*(gain * part for part in given)))
        # Re(C z) with complex C
        mixed = nn.Dense(self.dim, use_bias=False, name="output")(jnp.concatenate([z.real, z.imag], axis=2))
        x = nn.LayerNorm(name="recurrence_norm")(x + dropout(mixed, self.dropout, noise, site))
        outer = nn.Dense(self.dim, name="outer")(jax.nn.gelu(nn.Dense(4 * self.dim, name="inner")(x)))
        return nn.LayerNorm(name="forward_norm")(x + dropout(outer, self.dropout, noise, site + 1))


def linear_recurrence(decay: Complex[Array, "N"], given: Complex[Array, "B T N"]) -> Complex[Array, "B T N"]:
    """z_t = decay * z_(t-1) + given_t from z = 0, by an associative scan."""

    def join(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
        return one[0] * other[0], other[0] * one[1] + other[1]

    decays = jnp.broadcast_to(decay[None, None, :], given.shape)
    return jax.lax.associative_scan(join, (decays, given), axis=1)[1]


def _log_decay(key: Array, shape: tuple[int, ...], dtype: type = jnp.float32) -> Array:
    """log(-log r) with r^2 uniform between the squares of the smallest and the largest absolute value."""
    square = jax.random.uniform(key, shape, dtype, MIN_DECAY**2, MAX_DECAY**2)
    return jnp.log(-jnp.log(square) / 2)
