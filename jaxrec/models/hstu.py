"""HSTU: pointwise attention over the items of a history, whose sums are gated and not averaged.

x_t = sqrt(D) e_t + p_t; per block (U, V, Q, K) = SiLU(W_1 LN(x)), A = SiLU(Q K' + bias) / T over the past, with a bias
by the distance between positions and, with `time_bias`, by the time between events, and x = x + W_2 (LN(A V) * U);
h = LN(x) and score(u, i) = <h_T, e_i>.   [Zhai et al. 2024, Actions speak louder than words: trillion-parameter
sequential transducers for generative recommendations]
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.hyper import Traced
from jaxrec.models.attention import check_heads
from jaxrec.models.dropout import Noise, dropout
from jaxrec.models.embedding import Embedding
from jaxrec.models.encoder import Encoder
from jaxrec.models.relative_bias import relative_biases
from jaxrec.models.sequence import Context, Rate


class HSTU(Encoder):
    """Hierarchical sequential transduction units: causal blocks of attention without softmax or feed-forward network.

    Attributes:
        history_length: see `SequenceModel`; sums of attention are divided by it
        embedding_dim: embedding dimension; static, because layer normalization depends on it
        n_blocks, n_heads: number of blocks, and attention heads per block
        query_dim, value_dim: dimension of queries and keys, and of values, per head; None: embedding_dim / n_heads
        dropout: dropout rate of the embeddings and of the input of W_2; traced
        init_std: root-mean-square norm of an initial item vector
        time_bias: add a learned bias by the time between two events, which needs times

    Fidelity: the authors' block: no biases in W_1, no scale and shift in LN, position embeddings. Theirs is trained
    with a sampled softmax of cosines (`temperature=0.05 loss=sequence_sampled_softmax`), reads the time of the item to
    predict, shares biases between heads, and counts positions from the first item instead of the latest. Biases
    start at zero and weights as in Flax dense layers, and h is normalized for dot products.
    """

    n_blocks: PositiveInt = 2
    n_heads: PositiveInt = 1
    query_dim: PositiveInt | None = None
    value_dim: PositiveInt | None = None
    dropout: Rate | Traced = 0.2
    init_std: NonNegativeFloat = 0.2
    time_bias: bool = False

    def setup(self) -> None:
        check_heads(self.n_heads, self.embedding_dim)
        super().setup()
        self.position_embedding = Embedding(self.history_length, self.embedding_dim, std=self.init_std)
        of_head = self.embedding_dim // self.n_heads
        sizes = self.n_heads, self.query_dim or of_head, self.value_dim or of_head
        self.blocks = [
            Block(self.embedding_dim, *sizes, self.history_length, self.dropout) for _ in range(self.n_blocks)
        ]
        self.norm = nn.LayerNorm()

    def hidden(self, items: Int[Array, "B T"], noise: Noise | None, context: Context | None) -> Float[Array, "B T D"]:
        """Normalized outputs of the last block at every position."""
        x = self.embedded(items, noise) * jnp.sqrt(jnp.float32(self.embedding_dim))
        x = x + self.position_embedding.whole()[None, -items.shape[1] :]
        x, real = self.with_inputs(x, items, context)
        elapsed = self.elapsed(items, context)
        x = jnp.where(real[:, :, None], dropout(x, self.dropout, noise, 0), 0)
        for i, block in enumerate(self.blocks):
            x = jnp.where(real[:, :, None], block(x, real, elapsed, noise, 1 + i), 0)
        return self.norm(x[:, -items.shape[1] :])


class Block(nn.Module):
    """One transduction unit; sums of attention are divided by `length`."""

    dim: int
    n_heads: int
    query_dim: int
    value_dim: int
    length: int
    dropout: float | Traced

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        real: Bool[Array, "B T"],
        elapsed: Int[Array, "B T T"] | None,
        noise: Noise | None,
        site: int,
    ) -> Float[Array, "B T D"]:
        b, t, _ = x.shape
        wide = self.n_heads * self.value_dim
        normalized = nn.LayerNorm(use_bias=False, use_scale=False, name="input_norm")(x)
        split = nn.Dense(2 * wide + 2 * self.n_heads * self.query_dim, use_bias=False, name="split")(normalized)
        u, v, q, k = jnp.split(jax.nn.silu(split), [wide, 2 * wide, 2 * wide + self.n_heads * self.query_dim], axis=2)
        v, q, k = (part.reshape(b, t, self.n_heads, -1) for part in (v, q, k))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)
        for bias in relative_biases(self, self.n_heads, t, elapsed):
            scores = scores + bias
        seen = real[:, None, :] & jnp.tri(t, dtype=bool)[None]
        weights = jnp.where(seen[:, None], jax.nn.silu(scores) / self.length, 0)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, t, wide)
        gated = nn.LayerNorm(use_bias=False, use_scale=False, name="attention_norm")(mixed) * u
        return x + nn.Dense(self.dim, name="output")(dropout(gated, self.dropout, noise, site))
