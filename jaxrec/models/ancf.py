"""Attention neural collaborative filtering: attention weights the interaction, an MLP scores it.

    score(u, i) = h . a_L(... a_1(x_ui)) + b_i + b        a_l(x) = relu(W_l x + b_l)

over latent features:  x = D softmax(W' relu(W z + c)) * z  with  z = p_u * q_i;  b_u is added to the score
over the history:      x = v_ui * q_i  with  v_ui = sum_j e_ij p_j / (sum_j e_ij)^beta
                       and  e_ij = exp(w . relu(W (p_j * q_i) + c))

where j runs over the items of the user's history, * is the elementwise product and D the embedding dimension.
[He et al. 2017, Neural collaborative filtering; the attention over histories is that of He et al. 2018, NAIS: Neural
attentive item similarity model, eq. 9 and 12]
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from jaxrec.hyper import Swept, Traced
from jaxrec.models.embedding import Embedding
from jaxrec.models.layer import Layer
from jaxrec.models.model import Pairwise
from jaxrec.pairs import every_pair
from jaxrec.query import Query

TABLE_ENTRIES = 1 << 28  # largest item-by-item table of e_ij that is cached while a catalog is ranked: 1 GiB


class Attention(nn.Module):
    """Attention network with one hidden layer: W' relu(W x + c)."""

    units: int
    outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
        glorot = nn.initializers.glorot_uniform()
        hidden = nn.relu(Layer(self.units, kernel_init=glorot, name="hidden")(x, axis))
        return Layer(self.outputs, use_bias=False, kernel_init=glorot, name="output")(hidden, axis)


class Layers(nn.Module):
    """MLP with a scalar output: h . a_L(... a_1(x)), or h . x without hidden layers."""

    sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
        for place, size in enumerate(self.sizes):
            x = nn.relu(Layer(size, kernel_init=nn.initializers.glorot_uniform(), name=f"Dense_{place}")(x, axis))
        return jnp.squeeze(Layer(1, use_bias=False, name="output")(x, axis), axis)


class ANCF(Pairwise):
    """Attention over latent features, or over the history with the candidate as the query.

    Attributes:
        n_users, n_items: numbers of users and items
        history_length: 0: attention over latent features; above 0: attention over that many latest items of the
            history, which then represents the user. New users can be scored; an empty history scores b_i + b plus the
            MLP output for a zero vector
        embedding_dim: embedding dimension
        attention_units: hidden units of the attention network; None: embedding_dim; 0: no attention, equal weights
            (with a history this is FISM, e_ij = 1), as an ablation
        layers: hidden units of the MLP; None: embedding_dim and half of it; (): no hidden layers, which with a history
            is NAIS with weighted columns
        beta: smoothing of the attention over histories: 1 is a softmax, 0 a plain sum
        regularization: L2 penalty on the embedding vectors that a batch uses (with a history: those of scored items)
        init_std: root-mean-square norm of an initial embedding vector

    Fidelity: there is no reference implementation of this combination; the components follow the papers. Attention
    over a history is NAIS-prod without pretraining; the target item is excluded from the history by `loss.history`,
    not here. Because of the factor D, equal feature weights leave z unchanged.
    """

    n_users: int
    n_items: int
    history_length: NonNegativeInt = 0
    embedding_dim: PositiveInt = 32
    attention_units: NonNegativeInt | None = None
    layers: tuple[PositiveInt, ...] | None = None
    beta: NonNegativeFloat | Swept = 0.5
    regularization: NonNegativeFloat | Traced = 0.0
    init_std: NonNegativeFloat = 0.3

    @property
    def _sizes(self) -> tuple[int, ...]:
        return (self.embedding_dim, max(1, self.embedding_dim // 2)) if self.layers is None else self.layers

    @property
    def _units(self) -> int:
        return self.embedding_dim if self.attention_units is None else self.attention_units

    @property
    def pair_floats(self) -> int:
        """Floats allocated per user-item pair during scoring."""
        attended = self.history_length or 2 * self.embedding_dim + self._units
        return attended + self.embedding_dim + sum(self._sizes)

    def setup(self) -> None:
        self.item_embedding = Embedding(self.n_items, self.embedding_dim, std=self.init_std)
        if self.history_length:
            self.history_embedding = Embedding(self.n_items, self.embedding_dim, std=self.init_std)
        else:
            self.user_embedding = Embedding(self.n_users, self.embedding_dim, std=self.init_std)
            self.user_bias = self.param("user_bias", nn.initializers.zeros, (self.n_users,))
        if self._units:
            self.attention = Attention(self._units, 1 if self.history_length else self.embedding_dim)
        self.score = Layers(self._sizes)
        self.item_bias = self.param("item_bias", nn.initializers.zeros, (self.n_items,))
        self.bias = self.param("bias", nn.initializers.zeros, (1,))

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        q = self.item_embedding(items)
        if query.history is not None and self.history_length:
            p = self.history_embedding(jnp.maximum(query.history.items, 0))
            weights, total = self.attend(query.history.items, self.weights(p[:, :, None, :], q[:, None, :, :]))
            x = jnp.einsum("btn,btd->bnd", weights, p) / total[:, :, None] * q
        else:
            x = self.weigh(self.user_embedding(query.user)[:, None, :] * q)
        return self._score(query, x, self.item_bias[items])

    def item_parts(self) -> tuple[Float[Array, "D I"], Float[Array, "I"], Float[Array, "I I"] | None]:
        """Item vectors, biases, and the table of e_ij (rows j) shared by all users; None if the table is too large."""
        q, bias = self.item_embedding.whole().T, self.item_bias
        if not self.history_length or not self._units or self.n_items**2 > TABLE_ENTRIES:
            return q, bias, None
        return q, bias, self._weights_of_rows(self.history_embedding.whole(), q)

    def score_parts(self, query: Query, parts: tuple[Array, Array, Array | None]) -> Float[Array, "B N"]:
        """Scores of the items in `parts`, which holds all or some columns of `item_parts`."""

        def score_user(user: tuple[Array, Array], items: tuple[Array, Array, None]) -> Float[Array, "N"]:
            (p, user_bias), (q, bias, _) = user, items
            return self.score(self.weigh(p[:, None] * q, axis=0), axis=0) + bias + self.bias + user_bias

        def score_history(user: tuple[Array, Array], items: tuple[Array, Array, Array | None]) -> Float[Array, "N"]:
            (j, p), (q, bias, table) = user, items
            e = self._weights_of_rows(p, q) if table is None else table[jnp.maximum(j, 0)]
            weights, total = self.attend(j, e)
            return self.score(p.T @ weights / total[None] * q, axis=0) + bias + self.bias

        if query.history is None or not self.history_length:
            users = self.user_embedding(query.user), self.user_bias[query.user]
            return every_pair(score_user, users, parts, self.pair_floats)
        j = query.history.items
        # The table is not split into tiles, which would copy it.
        floats = self.pair_floats if parts[2] is None else 1
        return every_pair(score_history, (j, self.history_embedding(jnp.maximum(j, 0))), parts, floats)

    def weigh(self, z: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
        """Apply feature attention to z."""
        return self.embedding_dim * nn.softmax(self.attention(z, axis), axis) * z if self._units else z

    def weights(self, p: Float[Array, "..."], q: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
        """Unnormalized attention weights e_ij."""
        z = p * q
        return jnp.exp(jnp.squeeze(self.attention(z, axis), axis)) if self._units else jnp.ones_like(z.take(0, axis))

    def attend(
        self, j: Int[Array, "*S T"], weights: Float[Array, "*S T N"]
    ) -> tuple[Float[Array, "*S T N"], Float[Array, "*S N"]]:
        """Attention weights e_ij, 0 at padding, and the denominator (sum_j e_ij)^beta."""
        weights = jnp.where(j[..., None] >= 0, weights, 0.0)
        total = jnp.sum(weights, axis=-2)
        return weights, jnp.where(total > 0, total, 1.0) ** self.beta  # avoid 0 / 0 for an empty history

    def penalty(self, query: Query) -> tuple[Float[Array, "B"], Float[Array, "I"]]:
        """L2 penalty of each user and item per occurrence in a batch: regularization * squared norm."""
        q = self.item_embedding.squared_lengths()
        if self.history_length:
            q = q + self.history_embedding.squared_lengths()
            return jnp.zeros(query.user.shape), self.regularization * q
        return self.regularization * self.user_embedding.squared_lengths()[query.user], self.regularization * q

    def _weights_of_rows(self, p: Float[Array, "J D"], q: Float[Array, "D N"]) -> Float[Array, "J N"]:
        """e_ij of each row of p with every item, one row at a time."""
        return jax.lax.map(lambda p_j: self.weights(p_j[:, None], q, axis=0), p)

    def _score(self, query: Query, x: Float[Array, "B N D"], item_bias: Float[Array, "B N"]) -> Float[Array, "B N"]:
        scores = self.score(x) + item_bias + self.bias[:, None]
        return scores if self.history_length else scores + self.user_bias[query.user][:, None]
