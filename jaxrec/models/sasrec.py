"""SASRec: causal self-attention over the items of a history.

x_t = sqrt(D) e_t + p_t; per block x = a + Attention(a, x, x) with a = LN(x), then x = b + FFN(b) with b = LN(x);
h = LN(x) and score(u, i) = <h_T, e_i>.   [Kang and McAuley 2018, Self-attentive sequential recommendation]

With `normalize=pre`, x = x + Attention(a, a, a), then x = x + FFN(b); with `normalize=post`, as in BERT and BSARec,
x_t = LN(e_t + p_t), per block x = LN(x + Attention(x, x, x)), then x = LN(x + FFN(x)), and h = x. With `gated`, the
output of a sublayer with input a is multiplied by sigmoid(W a), and FFN(b) = W_2 (f(W_1 b) * W_3 b).
[LiGR: Borisyuk et al. 2024; eSASRec: Tikhonovich et al. 2025; gated linear units: Shazeer 2020]
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.hyper import Traced
from jaxrec.models.attention import attention
from jaxrec.models.dropout import Noise, dropout
from jaxrec.models.embedding import Embedding
from jaxrec.models.encoder import Encoder
from jaxrec.models.relative_bias import relative_biases
from jaxrec.models.sequence import Context, Rate

Normalize = Literal["query", "pre", "post"]
Activation = Literal["relu", "gelu", "silu"]


class SASRec(Encoder):
    """Causal Transformer encoder over the history.

    Attributes:
        history_length: see `SequenceModel`
        embedding_dim: embedding dimension; static, because layer normalization depends on it
        n_blocks, n_heads: number of blocks, and attention heads per block
        dropout: dropout rate of embeddings, attention weights and both feed-forward layers; traced
        init_std: root-mean-square norm of an initial item vector
        normalize: `query`: the queries, as in the paper's code; `pre`: the input of each sublayer; `post`: its output
        activation, feed_forward: activation of the feed-forward networks, and their width in embedding dimensions
        gated: gate both sublayers, see above
        relative: add a learned bias to attention logits for each head and distance between positions
        time_bias: add a learned bias for each head and time between two events, which needs times   [Zhai et al. 2024]
        tied: input and output items share one table

    Fidelity: follows the authors' code: queries are normalized, keys and values are not; position embeddings are
    learned and counted from the latest item; input and output items share one table. Their loss is
    `loss=sequence_bce`; the default is cross-entropy over the catalog, with which the same network is far more
    accurate.   [Klenitskiy and Vasilev 2023]
    """

    n_blocks: PositiveInt = 2
    n_heads: PositiveInt = 1
    dropout: Rate | Traced = 0.2
    init_std: NonNegativeFloat = 0.2
    normalize: Normalize = "query"
    activation: Activation = "relu"
    feed_forward: PositiveInt = 1
    gated: bool = False
    relative: bool = False
    time_bias: bool = False
    tied: bool = True

    def setup(self) -> None:
        super().setup()
        self.position_embedding = Embedding(self.history_length, self.embedding_dim, std=self.init_std)
        kind = self.normalize, self.activation, self.feed_forward, self.gated, self.relative
        self.blocks = [Block(self.embedding_dim, self.n_heads, self.dropout, *kind) for _ in range(self.n_blocks)]
        self.norm = nn.LayerNorm(epsilon=1e-8)
        if not self.tied:
            self.output_embedding = Embedding(self.n_items, self.embedding_dim, std=self.init_std)

    def hidden(self, items: Int[Array, "B T"], noise: Noise | None, context: Context | None) -> Float[Array, "B T D"]:
        """Normalized outputs of the last block at every position."""
        x = self.embedded(items, noise)
        if self.normalize != "post":
            x = x * jnp.sqrt(jnp.float32(self.embedding_dim))
        x = x + self.position_embedding.whole()[None, -items.shape[1] :]
        x, real = self.with_inputs(x, items, context)
        elapsed = self.elapsed(items, context)
        if self.normalize == "post":
            x = self.norm(x)  # the only one outside the blocks is the first
        x = jnp.where(real[:, :, None], dropout(x, self.dropout, noise, 0), 0)
        for i, block in enumerate(self.blocks):
            x = jnp.where(real[:, :, None], block(x, real, elapsed, noise, 1 + 3 * i), 0)
        x = x[:, -items.shape[1] :]
        return x if self.normalize == "post" else self.norm(x)

    def item_vectors(self, noise: Noise | None = None) -> Float[Array, "I D"]:
        """The output table: the item embedding table, unless it is not tied, plus features."""
        return self.as_items(self.catalog(noise, None if self.tied else self.output_embedding))


class Block(nn.Module):
    """Transformer block: causal self-attention, then a position-wise feed-forward network."""

    dim: int
    n_heads: int
    dropout: float | Traced
    normalize: Normalize = "query"
    activation: Activation = "relu"
    feed_forward: int = 1
    gated: bool = False
    relative: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        real: Bool[Array, "B T"],
        elapsed: Int[Array, "B T T"] | None,
        noise: Noise | None,
        site: int,
    ) -> Float[Array, "B T D"]:
        is_post = self.normalize == "post"
        attention_norm = nn.LayerNorm(epsilon=1e-8, name="attention_norm")
        a = x if is_post else attention_norm(x)
        query = nn.Dense(self.dim, name="query")(a)
        # No key bias: it would shift all logits of a query equally, to which softmax is invariant.
        read = x if self.normalize == "query" else a
        key, value = nn.Dense(self.dim, use_bias=False, name="key")(read), nn.Dense(self.dim, name="value")(read)
        n = x.shape[1]
        seen = real[:, None, :] & jnp.tri(n, dtype=bool)[None]
        biases = relative_biases(self, self.n_heads, n if self.relative else None, elapsed)
        mixed = attention(query, key, value, seen, self.n_heads, self.dropout, noise, site, biases)
        x = (a if self.normalize == "query" else x) + self._gated(mixed, a, "attention_gate")
        x = attention_norm(x) if is_post else x
        forward_norm = nn.LayerNorm(epsilon=1e-8, name="forward_norm")
        b = x if is_post else forward_norm(x)
        width = self.feed_forward * self.dim
        activate = {"relu": jax.nn.relu, "gelu": jax.nn.gelu, "silu": jax.nn.silu}[self.activation]
        inner = activate(dropout(nn.Dense(width, name="inner")(b), self.dropout, noise, site + 1))
        if self.gated:
            inner = inner * nn.Dense(width, use_bias=False, name="linear")(b)
        outer = dropout(nn.Dense(self.dim, name="outer")(inner), self.dropout, noise, site + 2)
        x = (b if self.normalize == "query" else x) + self._gated(outer, b, "forward_gate")
        return forward_norm(x) if is_post else x

    def _gated(self, output: Float[Array, "B T D"], given: Float[Array, "B T D"], name: str) -> Float[Array, "B T D"]:
        """The output of a sublayer, gated by its input."""
        return output * jax.nn.sigmoid(nn.Dense(self.dim, name=name)(given)) if self.gated else output
