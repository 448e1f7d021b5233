"""Softmax DNN: who asks is made a vector, and the softmax over the catalog is learned of what they chose.

    P(i | u) = exp s(u, i) / sum_j exp s(u, j)      s(u, i) = <x_u, v_i> + b_i,  or  cos(x_u, v_i) / temperature
    x_u = W relu(... relu(W_1 [h, f_u, n_u])) + h + p_u      v_i = q_i + W' [f_i, n_i]

h is the mean of vectors of the items in the user's history, f are vectors of categories and bags, n numbers: those of
the user table with their squares and roots, and how long the history is. The h past the layers is there with
`residual`, p_u with `user_ids`; f_i and n_i where something is known of items.
[Covington, Adams, Sargin 2016, Deep neural networks for YouTube recommendations, section 3; cosine with temperature
and logQ correction: Yi et al. 2019, Sampling-bias-corrected neural modeling for large corpus item recommendations]
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from jaxrec.data.features import Sizes
from jaxrec.features import FeatureTable
from jaxrec.history import History
from jaxrec.hyper import Traced
from jaxrec.models.embedding import Bias, Embedding
from jaxrec.models.feature_embedding import FeatureEmbedding
from jaxrec.models.model import Factorized
from jaxrec.query import Query


class SoftmaxDNN(Factorized):
    """A query tower over history and features against item vectors; what the data has no columns for falls away.

    n_users, n_items: sizes of the tables
    history_length:   latest items of a user in the bag
    embedding_dim:    columns of item vectors and of the query
    feature_dim:      columns of the vectors of categories and bags
    layers:           units of the tower's hidden layers; () is a linear tower
    residual:         adds the bag to what the layers make of it
    user_ids:         adds a vector of the user's own; a new user, -1, has none
    tied:             the bag is made of the q_i, else of vectors of its own as in the paper
    cosine:           cosine over temperature, without biases, else the dot product
    temperature:      divides the scores
    regularization:   L2 penalty on x_u and v_i of a batch, weighted by how often they are seen
    init_std:         standard deviation of a fresh vector's length
    user_table, item_table, user_sizes, item_sizes: features, given where there are any

    Fidelity: the paper's candidate generation: bag, categories and powers of normalized numbers into layers of ReLU
    and a softmax over items. Its example age, search tokens and impressions are features that a user table may have;
    powers are x, x^2 and the root of |x| with the sign of x, as standardized numbers may be negative where quantiles
    are not. p_u, features of items, and the bag past the layers are not in the paper. Which items are history and which
    are to be predicted is the objective's to say: never is an item in the bag of the query that it is a target of.
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
    user_sizes: Any = Sizes()
    item_sizes: Any = Sizes()

    @property
    def reads_ids(self) -> bool:
        """Whether users are known by their ids; see `jaxrec.fallback`."""
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
        """(x_u, 1) / temperature; of length 1 / temperature for the cosine."""
        x = self.queries(query)
        x = _unit(x) if self.cosine else jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)
        return x / self.temperature

    def item_vectors(self) -> Float[Array, "I D1"]:
        """(v_i, b_i) of the whole catalog; of length 1 for the cosine."""
        return self._items(self.item_embedding.whole(), self.item_bias.whole(), self.item_table)

    def queries(self, query: Query) -> Float[Array, "B D"]:
        """x_u."""
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
        # A tower of nothing has its biases to learn the popular with.
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
        """h; zero for an empty history."""
        table = self.item_embedding if self.tied else self.history_embedding
        known = (history.items >= 0).astype(jnp.float32)
        n = jnp.maximum(jnp.sum(known, axis=1, keepdims=True), 1)
        if self.n_items <= 8 * self.history_length:  # a product with the whole table is quicker than so many look-ups
            return history.counts(self.n_items) @ table.whole() / n
        vectors = table.lookup(jnp.maximum(history.items, 0))
        return jnp.einsum("bt,btd->bd", known, vectors) / n

    def penalty(self, query: Query) -> tuple[Float[Array, "B"], Float[Array, "I"]]:
        """What a user and what an item adds to the loss each time it is seen: regularization times squared length."""
        x, v = self.queries(query), self._vectors(self.item_embedding.whole(), self.item_table)
        return self.regularization * jnp.sum(x**2, axis=1), self.regularization * jnp.sum(v**2, axis=1)

    def _vectors(self, q: Float[Array, "*S D"], rows: FeatureTable | None) -> Float[Array, "*S D"]:
        """v_i."""
        return q if rows is None else q + self.item_layer(self.item_features.flat(rows))

    def _items(
        self, q: Float[Array, "*S D"], bias: Float[Array, "*S"], rows: FeatureTable | None
    ) -> Float[Array, "*S D1"]:
        v = self._vectors(q, rows)
        return _unit(v) if self.cosine else jnp.concatenate([v, bias[..., None]], axis=-1)

    def _small(self) -> nn.initializers.Initializer:
        """Outputs as long as fresh embeddings."""
        return nn.initializers.variance_scaling(self.init_std**2 / self.embedding_dim, "fan_in", "normal")


def _unit(x: Float[Array, "*S D"]) -> Float[Array, "*S D"]:
    """x / |x|; zero, with a gradient of zero, where x is zero."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.where(square > 0, square, 1.0))


def _root(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """The root of |x|; its gradient, which reaches features only, is not asked for."""
    return jnp.sqrt(jnp.abs(x))
