"""BERT4Rec: bidirectional self-attention, trained to predict masked items.

x_t = LN(e_t + p_t); per block x = LN(x + Attention(x, x, x)), then x = LN(x + W_2 GELU(W_1 x));
h = LN(GELU(W x)) and score(u, i) = <h_T, e_i> + b_i, where position T is masked.   [Sun et al. 2019, BERT4Rec:
Sequential recommendation with bidirectional encoder representations from Transformer]
"""

import flax.linen as nn
import jax
from jaxtyping import Array, Bool, Float, Int
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.history import History
from jaxrec.hyper import Traced
from jaxrec.models.attention import attention
from jaxrec.models.dropout import Noise, dropout
from jaxrec.models.embedding import Embedding
from jaxrec.models.encoder import Encoder
from jaxrec.models.sequence import Context, Rate


class BERT4Rec(Encoder):
    """Bidirectional Transformer encoder; trained by `loss=masked_softmax`.

    Attributes:
        history_length: see `SequenceModel`; the mask takes one position, so one history item fewer is read
        embedding_dim: embedding dimension; static, because layer normalization depends on it
        n_blocks, n_heads: number of blocks, and attention heads per block
        dropout: dropout rate of embeddings, attention weights and sublayer outputs; traced
        init_std: root-mean-square norm of an initial item vector

    Fidelity: follows the authors' code, which is BERT's: normalized embeddings, feed-forward networks of four times
    the embedding dimension, an output layer and an item bias. Weights use the default initialization of Flax dense
    layers, not a truncated normal.
    """

    n_blocks: PositiveInt = 2
    n_heads: PositiveInt = 2
    dropout: Rate | Traced = 0.2
    init_std: NonNegativeFloat = 1.0
    causal = False
    has_item_bias = True

    def setup(self) -> None:
        super().setup()
        self.position_embedding = Embedding(self.history_length, self.embedding_dim, std=self.init_std)
        self.embedding_norm, self.output_norm = nn.LayerNorm(), nn.LayerNorm()
        self.blocks = [Block(self.embedding_dim, self.n_heads, self.dropout) for _ in range(self.n_blocks)]
        self.output = nn.Dense(self.embedding_dim)

    @property
    def n_tokens(self) -> int:
        """The items and the mask token."""
        return self.n_items + 1

    def hidden(self, items: Int[Array, "B T"], noise: Noise | None, context: Context | None) -> Float[Array, "B T D"]:
        """Outputs at every position; item id `n_items` is the mask token."""
        x = self.embedded(items, noise) + self.position_embedding.whole()[None, -items.shape[1] :]
        x, real = self.with_inputs(x, items, context)
        x = dropout(self.embedding_norm(x), self.dropout, noise, 0)
        for i, block in enumerate(self.blocks):
            x = block(x, real, noise, 1 + 3 * i)
        return self.output_norm(jax.nn.gelu(self.output(x[:, -items.shape[1] :])))

    def after(self, history: History, user: Int[Array, "B"]) -> Float[Array, "B D1"]:
        """The output at a mask token appended to the history."""
        return super().after(history.appended(self.n_items), user)


class Block(nn.Module):
    """Transformer block: bidirectional self-attention, then a position-wise feed-forward network."""

    dim: int
    n_heads: int
    dropout: float | Traced

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], real: Bool[Array, "B T"], noise: Noise | None, site: int
    ) -> Float[Array, "B T D"]:
        query, value = nn.Dense(self.dim, name="query")(x), nn.Dense(self.dim, name="value")(x)
        key = nn.Dense(self.dim, use_bias=False, name="key")(x)  # softmax is invariant to a key bias
        mixed = attention(query, key, value, real[:, None, :], self.n_heads, self.dropout, noise, site)
        mixed = dropout(nn.Dense(self.dim, name="mix")(mixed), self.dropout, noise, site + 1)
        x = nn.LayerNorm(name="attention_norm")(x + mixed)
        outer = nn.Dense(self.dim, name="outer")(jax.nn.gelu(nn.Dense(4 * self.dim, name="inner")(x)))
        return nn.LayerNorm(name="forward_norm")(x + dropout(outer, self.dropout, noise, site + 2))
