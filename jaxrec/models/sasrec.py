"""SASRec: causal self-attention over the items of a history.

x_t = sqrt(D) e_t + p_t; per block x = a + Attention(a, x, x) with a = LN(x), then x = b + FFN(b) with b = LN(x);
h = LN(x) and score(u, i) = <h_T, e_i>.   [Kang and McAuley 2018, Self-attentive sequential recommendation]
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from jaxrec.hyper import Traced
from jaxrec.models.attention import attention
from jaxrec.models.cosine import unit
from jaxrec.models.dropout import Noise, dropout
from jaxrec.models.embedding import Embedding
from jaxrec.models.sequence import Rate, SequenceModel


class SASRec(SequenceModel):
    """Causal Transformer encoder over the history.

    Attributes:
        history_length: see `SequenceModel`
        embedding_dim: embedding dimension; static, because layer normalization depends on it
        n_blocks, n_heads: number of blocks, and attention heads per block
        dropout: dropout rate of embeddings, attention weights and both feed-forward layers; traced
        init_std: root-mean-square norm of an initial item vector
        temperature: None: scores are dot products; otherwise cosines divided by it, which suits sparse data

    Fidelity: follows the authors' code: queries are normalized, keys and values are not; position embeddings are
    learned and counted from the latest item; input and output items share one table. Their loss is
    `loss=sequence_bce`; the default is cross-entropy over the catalog, with which the same network is far more
    accurate.   [Klenitskiy and Vasilev 2023]
    """

    embedding_dim: PositiveInt = 64
    n_blocks: PositiveInt = 2
    n_heads: PositiveInt = 1
    dropout: Rate | Traced = 0.2
    init_std: NonNegativeFloat = 0.2
    temperature: PositiveFloat | Traced | None = None

    def setup(self) -> None:
        self.item_embedding = Embedding(self.n_items, self.embedding_dim, std=self.init_std)
        self.position_embedding = Embedding(self.history_length, self.embedding_dim, std=self.init_std)
        self.blocks = [Block(self.embedding_dim, self.n_heads, self.dropout) for _ in range(self.n_blocks)]
        self.norm = nn.LayerNorm(epsilon=1e-8)

    def encode(self, items: Int[Array, "B T"], noise: Noise | None = None) -> Float[Array, "B T D"]:
        """Normalized outputs of the last block at every position."""
        real = items >= 0
        x = self.item_embedding.lookup(items) * jnp.sqrt(jnp.float32(self.embedding_dim))
        x = x + self.position_embedding.whole()[None, -items.shape[1] :]
        x = jnp.where(real[:, :, None], dropout(x, self.dropout, noise, 0), 0)
        for i, block in enumerate(self.blocks):
            x = jnp.where(real[:, :, None], block(x, real, noise, 1 + 3 * i), 0)
        x = self.norm(x)
        return x if self.temperature is None else unit(x) / self.temperature

    def item_vectors(self) -> Float[Array, "I D"]:
        """The item embedding table, shared with the input."""
        table = self.item_embedding.whole()
        return table if self.temperature is None else unit(table)


class Block(nn.Module):
    """Transformer block: causal self-attention, then a position-wise feed-forward network."""

    dim: int
    n_heads: int
    dropout: float | Traced

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], real: Bool[Array, "B T"], noise: Noise | None, site: int
    ) -> Float[Array, "B T D"]:
        a = nn.LayerNorm(epsilon=1e-8, name="attention_norm")(x)
        query = nn.Dense(self.dim, name="query")(a)
        # No key bias: it would shift all logits of a query equally, to which softmax is invariant.
        key, value = nn.Dense(self.dim, use_bias=False, name="key")(x), nn.Dense(self.dim, name="value")(x)
        n = x.shape[1]
        seen = real[:, None, :] & jnp.tri(n, dtype=bool)[None]
        x = a + attention(query, key, value, seen, self.n_heads, self.dropout, noise, site)
        b = nn.LayerNorm(epsilon=1e-8, name="forward_norm")(x)
        inner = jax.nn.relu(dropout(nn.Dense(self.dim, name="inner")(b), self.dropout, noise, site + 1))
        return b + dropout(nn.Dense(self.dim, name="outer")(inner), self.dropout, noise, site + 2)
