"""Softmax DNN: a query tower over history and features, trained by a softmax over the catalog.

    P(i | u) = exp s(u, i) / sum_j exp s(u, j)      s(u, i) = <x_u, v_i> + b_i,  or  cos(x_u, v_i) / temperature
    x_u = W relu(... relu(W_1 [h, f_u, n_u])) + h + p_u      v_i = q_i + W' [f_i, n_i]

h is the mean of the vectors of the items in the user's history, f are embeddings of categories and bags, n are numeric
features: those of the user table with their squares and square roots, and the length of the history. The h outside
the layers is present with `residual`, p_u with `user_ids`, f_i and n_i if there are item features.
[Covington, Adams, Sargin 2016, Deep neural networks for YouTube recommendations, section 3; cosine with temperature
and logQ correction: Yi et al. 2019, Sampling-bias-corrected neural modeling for large corpus item recommendations]
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from jaxrec.data.features import Sizes
from jaxrec.features import FeatureTable
from jaxrec.history import History
from jaxrec.hyper import Traced
from jaxrec.models.cosine import unit
from jaxrec.models.embedding import Bias, Embedding
from jaxrec.models.feature_embedding import FeatureEmbedding
from jaxrec.models.model import Factorized
from jaxrec.query import Query


class SoftmaxDNN(Factorized):
    """A query tower over history and features against item vectors; absent features are left out.

    Attributes:
        n_users, n_items: numbers of users and items
        history_length: latest items of a user in the bag
        embedding_dim: dimension of item and query vectors
        feature_dim: embedding dimension of categories and bags
        layers: hidden units of the tower; () is a linear tower
        residual: add the bag of the history to the output of the layers
        user_ids: add a vector per user id; new users (-1) have none
        tied: the bag averages the item vectors q_i; otherwise a separate table, as in the paper
        cosine: cosine divided by the temperature, without biases; otherwise the dot product
        temperature: divides the scores
        regularization: L2 penalty on x_u and v_i, once per occurrence in a batch
        init_std: root-mean-square norm of an initial embedding vector
        user_table, item_table, user_sizes, item_sizes: features, if any

    Fidelity: the paper's candidate generation network: bag, categories and powers of normalized numbers, ReLU layers
    and a softmax over items. Example age, search tokens and impressions can be provided as user features. The powers
    are x, x^2 and sign(x) sqrt|x|, because standardized numbers, unlike quantiles, may be negative. p_u, item features
    and the residual bag are not in the paper. The objective decides which items are history and which are targets; an
    item is never in the bag of a query of which it is the target.
    """

    n_users: int
    n_items: int
    history_length: NonNegativeInt = 0
    embedding_dim: PositiveInt = 64
    feature_dim: PositiveInt = 16
    layers: tuple[PositiveInt, ...] = (256,)
    user_ids: bool = False
    tied: bool = False
    residual: bool = False
    cosine: bool = False
    temperature: PositiveFloat | Traced = 1.0
    regularization: NonNegativeFloat | Traced = 0.0
    init_std: NonNegativeFloat = 0.1
    user_table: FeatureTable | None = None
    item_table: FeatureTable | None = None
    user_sizes: tuple[tuple[int, ...], tuple[int, ...], int] = Sizes()
    item_sizes: tuple[tuple[int, ...], tuple[int, ...], int] = Sizes()

    @property
    def reads_ids(self) -> bool:
        """Whether users are identified by id; see `jaxrec.fallback`."""
        return self.user_ids

    def setup(self) -> None:
        self.item_embedding = Embedding(self.n_items, self.embedding_dim, std=self.init_std)
        self.item_bias = Bias(self.n_items)
        if self.history_length and not self.tied:
            self.history_embedding = Embedding(self.n_items, self.embedding_dim, std=1.0)
        if self.user_ids:
            self.user_embedding = Embedding(self.n_users, self.embedding_dim, std=self.init_std)
        self.user_features = FeatureEmbedding(Sizes(*self.user_sizes), self.feature_dim, self.init_std)
        self.item_features = FeatureEmbedding(Sizes(*self.item_sizes), self.feature_dim, self.init_std)
        self.hidden = [nn.Dense(units, kernel_init=nn.initializers.he_normal()) for units in self.layers]
        self.last = nn.Dense(self.embedding_dim, use_bias=False, kernel_init=self._small())
        self.item_layer = nn.Dense(self.embedding_dim, use_bias=False, kernel_init=self._small())

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        rows = None if self.item_table is None else self.item_table.rows(items)
        vectors = self._items(self.item_embedding.lookup(items), self.item_bias.lookup(items), rows)
        return jnp.einsum("bd,bnd->bn", self.query_vectors(query), vectors)

    def query_vectors(self, query: Query) -> Float[Array, "B D1"]:
        """(x_u, 1) / temperature; with `cosine`, vectors of norm 1 / temperature."""
        x = self.queries(query)
        x = unit(x) if self.cosine else jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)
        return x / self.temperature

    def item_vectors(self) -> Float[Array, "I D1"]:
        """(v_i, b_i) of the whole catalog; with `cosine`, vectors of norm 1."""
        return self._items(self.item_embedding.whole(), self.item_bias.whole(), self.item_table)

    def queries(self, query: Query) -> Float[Array, "B D"]:
        """Output x_u of the query tower."""
        parts = []
        bag = None
        if query.history is not None and self.history_length:
            n = jnp.sum(query.history.items >= 0, axis=1, keepdims=True).astype(jnp.float32)
            bag = self.bag(query.history)
            parts += [bag, jnp.log1p(n) / jnp.log1p(jnp.float32(self.history_length))]
        if self.user_table is not None:
            rows = self.user_table.rows(query.user)
            numbers = self.user_features.numbers(rows)
            parts += [self.user_features.flat(rows), jnp.square(numbers), jnp.sign(numbers) * _root(numbers)]
        # Without inputs the tower is a constant, which can still learn popularity.
        x = jnp.concatenate(parts, axis=1) if parts else jnp.ones((query.user.shape[0], 1))
        for layer in self.hidden:
            x = nn.relu(layer(x))
        x = self.last(x)
        if self.residual and bag is not None:
            x = x + bag
        if not self.user_ids:
            return x
        own = self.user_embedding.lookup(jnp.maximum(query.user, 0))
        return x + jnp.where(query.user[:, None] >= 0, own, 0.0)

    def bag(self, history: History) -> Float[Array, "B D"]:
        """Mean vector h of each history; zero for an empty history."""
        table = self.item_embedding if self.tied else self.history_embedding
        known = (history.items >= 0).astype(jnp.float32)
        n = jnp.maximum(jnp.sum(known, axis=1, keepdims=True), 1)
        if self.n_items <= 8 * self.history_length:  # one product with the whole table is faster than the look-ups
            return history.counts(self.n_items) @ table.whole() / n
        vectors = table.lookup(jnp.maximum(history.items, 0))
        return jnp.einsum("bt,btd->bd", known, vectors) / n

    def penalty(self, query: Query) -> tuple[Float[Array, "B"], Float[Array, "I"]]:
        """L2 penalty of each user and item per occurrence in a batch: regularization * squared norm."""
        x, v = self.queries(query), self._vectors(self.item_embedding.whole(), self.item_table)
        return self.regularization * jnp.sum(x**2, axis=1), self.regularization * jnp.sum(v**2, axis=1)

    def _vectors(self, q: Float[Array, "*S D"], rows: FeatureTable | None) -> Float[Array, "*S D"]:
        """Item vectors v_i from embeddings and features."""
        return q if rows is None else q + self.item_layer(self.item_features.flat(rows))

    def _items(
        self, q: Float[Array, "*S D"], bias: Float[Array, "*S"], rows: FeatureTable | None
    ) -> Float[Array, "*S D1"]:
        v = self._vectors(q, rows)
        return unit(v) if self.cosine else jnp.concatenate([v, bias[..., None]], axis=-1)

    def _small(self) -> nn.initializers.Initializer:
        """Initializer whose outputs have the norm of initial embedding vectors."""
        return nn.initializers.variance_scaling(self.init_std**2 / self.embedding_dim, "fan_in", "normal")


def _root(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Square root of |x|. Its gradient at 0 is infinite, but features need no gradient."""
    return jnp.sqrt(jnp.abs(x))
