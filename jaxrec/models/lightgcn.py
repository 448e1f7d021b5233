"""LightGCN: matrix factorization of vectors that are propagated over the graph of the training interactions.

E_0 = embeddings of users and items    E_k = D^-1/2 A D^-1/2 E_(k-1)    (p, q) = mean of E_0, ..., E_K
score(u, i) = <p_u, q_i>, or cos(p_u, q_i) / temperature

A is the adjacency matrix of users and items, D the diagonal matrix of their numbers of neighbors.
[He et al. 2020, LightGCN: Simplifying and powering graph convolution network for recommendation]
"""

from typing import Annotated

from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Padded, Traced
from jaxrec.models.cosine import smoothed_unit
from jaxrec.models.embedding import Embedding
from jaxrec.models.fold_in import constructor_arguments
from jaxrec.models.graph import UserItemGraph, mean_of_layers, user_item_graph
from jaxrec.models.mf import FoldedMF
from jaxrec.models.model import FactorizedByRow, Params, Prepared
from jaxrec.query import Query


class LightGCN(FactorizedByRow, Prepared):
    """Dot product or cosine of a user vector and an item vector, both propagated over the graph.

    Attributes:
        n_users, n_items: numbers of users and items
        embedding_dim: embedding dimension
        n_layers: K, number of propagations; 0 is matrix factorization without biases
        regularization: L2 penalty on the embeddings E_0 of the users and items of a batch
        init_std: root-mean-square norm of an initial embedding
        temperature: None: dot products; otherwise cosines divided by it; traced
        width: columns in use; None: all
        prepared: the graph, in training; None: the tables hold p and q, with which the model is stored and scores

    Memory: for the graph 9 bytes per pair, and up to 128 more per user and item, because lists are padded; about D / 4
    bytes per pair during a propagation; one more copy of the tables than matrix factorization. Time per step: 4 K x
    pairs x D additions, whatever the batch size.
    Fidelity: the paper's model and penalty, and its authors' binary graph; initial embeddings are normal, with a norm
    that does not depend on the dimension. The graph has no dropout.
    """

    n_users: int
    n_items: int
    embedding_dim: Annotated[PositiveInt, Padded("width")] = 64
    n_layers: NonNegativeInt = 3
    regularization: NonNegativeFloat | Traced = 0.0
    init_std: NonNegativeFloat = 0.1
    temperature: PositiveFloat | Traced | None = None
    width: int | Traced | None = None
    prepared: UserItemGraph | None = None

    def setup(self) -> None:
        self.user_embedding = Embedding(self.n_users, self.embedding_dim, self.width, self.init_std)
        self.item_embedding = Embedding(self.n_items, self.embedding_dim, self.width, self.init_std)
        # Here, because each call would have a backward pass of its own.
        vectors = self.user_embedding.whole(), self.item_embedding.whole()
        self.p, self.q = vectors if self.prepared is None else mean_of_layers(self.n_layers, self.prepared, vectors)

    def query_vectors(self, query: Query) -> Float[Array, "B D"]:
        """p_u, or p_u / |p_u| / temperature."""
        p = self.p[query.user]
        return p if self.temperature is None else smoothed_unit(p) / self.temperature

    def item_vectors(self) -> Float[Array, "I D"]:
        """q_i of the whole catalog, or q_i / |q_i|."""
        return self._items(self.q)

    def vectors_of(self, items: Int[Array, "N"]) -> Float[Array, "N D"]:
        """`item_vectors` of these items only."""
        return self._items(self.q[items])

    def penalty(self, query: Query) -> tuple[Float[Array, "B"], Float[Array, "I"]]:
        """L2 penalty of each user and item per occurrence in a batch: regularization * squared norm of E_0."""
        p, q = self.user_embedding.squared_lengths(), self.item_embedding.squared_lengths()
        return self.regularization * p[query.user], self.regularization * q

    def prepare(self, train: Interactions) -> UserItemGraph:
        """The graph of the training data."""
        return user_item_graph(train)

    def finished(self) -> Params:
        """The tables of p and q."""
        return {"user_embedding": {"table": self.p}, "item_embedding": {"table": self.q}}

    def fold_in(self, length: int) -> FoldedMF:
        """Matrix factorization of p and q, for new users with histories of up to `length` interactions."""
        own = {name: value for name, value in constructor_arguments(self).items() if FoldedMF.has_field(name)}
        return FoldedMF(**own, biases=False, history_length=length, parent=None)

    def _items(self, q: Float[Array, "*S D"]) -> Float[Array, "*S D"]:
        return q if self.temperature is None else smoothed_unit(q)
