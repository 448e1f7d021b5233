"""Implicit alternating least squares: score(u, i) = <p_u, q_i>.

Minimizes  sum over observed pairs of (1 - <p_u, q_i>)^2  +  unobserved_weight * sum over all pairs of <p_u, q_i>^2
+ regularization * (sum_u (n_u + unobserved_weight * I)^nu |p_u|^2 + sum_i (n_i + unobserved_weight * U)^nu |q_i|^2),
where n_u and n_i are the numbers of interactions of a user and of an item. With item vectors fixed, each user is a
least squares problem:
(sum over u's items of q q' + unobserved_weight Q'Q + regularization (n_u + unobserved_weight I)^nu) p = sum of q.
[Hu, Koren, Volinsky 2008; Rendle, Krichene, Zhang, Koren 2022, Revisiting the performance of iALS on item
recommendation benchmarks]
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from jaxrec.data.interactions import Interactions, targets
from jaxrec.data.padded_segments import PaddedSegments, padded_segments
from jaxrec.hyper import Padded, Swept, Traced
from jaxrec.models.embedding import Embedding
from jaxrec.models.fold_in import cholesky, fields, sums
from jaxrec.models.model import Additive, Alternating, Factorized, Params
from jaxrec.query import Query


class Sides(NamedTuple):
    """Training interactions in batches: the items of each user, and the users of each item."""

    users: PaddedSegments
    items: PaddedSegments


class ImplicitALS(Factorized, Alternating):
    """Matrix factorization fitted by alternating least squares: all users, then all items.

    Attributes:
        n_users, n_items: numbers of users and items
        embedding_dim: embedding dimension
        regularization: L2 penalty of a vector, scaled by its amount of training data
        unobserved_total: weight of all pairs together, relative to that of the observed ones; unlike the weight of a
            single pair, one value suits sparse and dense data
        unobserved_weight: weight of an unobserved pair, where an observed one has 1; None: unobserved_total * density
        density: share of user-item pairs that are observed, set from the data
        nu: exponent of the scaling of the penalty: 1 is proportional to the data, 0 is no scaling
        init_std: root-mean-square norm of an initial vector: entries have deviation init_std / sqrt(embedding_dim)
        width: columns in use; None: all

    Memory: batches of at most 256 users with [256, D, D] matrices, independent of the data. Time per step:
    interactions x D^2 + (users + items) x D^3.
    Fidelity: the paper's objective, initialization and order of solves; exact Cholesky solves only (the paper also
    has a coordinate descent). An interaction's weight (default 1) multiplies its squared error; a repeated pair counts
    as often as it occurs.
    """

    n_users: int
    n_items: int
    embedding_dim: Annotated[PositiveInt, Padded("width")] = 64
    regularization: PositiveFloat | Traced = 0.03
    unobserved_total: PositiveFloat | Swept = 10.0
    unobserved_weight: PositiveFloat | Traced | None = None
    density: PositiveFloat = 0.01
    nu: NonNegativeFloat | Swept = 1.0
    init_std: PositiveFloat = 0.1
    width: int | Traced | None = None

    def setup(self) -> None:
        self.user_embedding = Embedding(self.n_users, self.embedding_dim, self.width, self.init_std)
        self.item_embedding = Embedding(self.n_items, self.embedding_dim, self.width, self.init_std)

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        return jnp.einsum("bd,bnd->bn", self.user_embedding(query.user), self.item_embedding(items))

    def query_vectors(self, query: Query) -> Float[Array, "B D"]:
        """p_u."""
        return self.user_embedding(query.user)

    def item_vectors(self) -> Float[Array, "I D"]:
        """q_i of the whole catalog."""
        return self.item_embedding.whole()

    def fold_in(self, length: int) -> "FoldedALS":
        """A model with the same parameters for new users with histories of up to `length` interactions."""
        return FoldedALS(**fields(self), history_length=length, parent=None)

    def prepare(self, train: Interactions) -> Sides:
        """The target interactions grouped by user and by item, in batches of one shape."""
        chosen, u, i = targets(train), self.n_users, self.n_items
        user, item, weight = chosen.user, chosen.item, chosen.weight
        return Sides(
            padded_segments(user, item, weight, n_rows=u, padding=i),
            padded_segments(item, user, weight, n_rows=i, padding=u),
        )

    def als_step(self, sides: Sides) -> tuple[Params, Float[Array, ""]]:
        """Solve for users with item vectors fixed, then for items with those user vectors; also return the objective.

        Unused columns are zero in every matrix and right-hand side, so they stay zero.
        """
        p, _, _ = self._solve(self.item_embedding.whole(), sides.users, self.n_users)
        q, left, n = self._solve(p, sides.items, self.n_items)
        penalty = self._penalties(jnp.ravel(jnp.asarray(sides.users.length)), self.n_items)
        row = jnp.asarray(sides.users.row).ravel()
        squared = jnp.sum(p.at[row].get(mode="fill", fill_value=0) ** 2, axis=1)
        loss = (left + jnp.sum(penalty * squared)) / n
        return {"user_embedding": {"table": p}, "item_embedding": {"table": q}}, loss

    @property
    def pair_weight(self) -> float | Traced:
        """The weight of an unobserved pair."""
        return self.unobserved_total * self.density if self.unobserved_weight is None else self.unobserved_weight

    def _penalties(self, length: Float[Array, "B"], n_others: int) -> Float[Array, "B"]:
        return jnp.asarray(self.regularization * (length + self.pair_weight * n_others) ** self.nu)

    def _solve(
        self, others: Float[Array, "N D"], batches: PaddedSegments, n_rows: int
    ) -> tuple[Float[Array, "R D"], Float[Array, ""], Float[Array, ""]]:
        """Solve for all rows with the other side fixed.

        Returns:
            the vectors, the objective without the penalty of the other side, and the number of interactions.
        """
        dim = others.shape[1]
        everything = self.pair_weight * (others.T @ others)
        others = jnp.concatenate([others, jnp.zeros((1, dim))])  # padding is a vector of zeros

        def solve_batch(total: Array, batch: PaddedSegments) -> tuple[Array, Array]:
            n = batch.row.shape[0]
            vectors = others[batch.entry]
            weighted = vectors if batch.weight is None else vectors * batch.weight[:, :, None]
            grams = jnp.einsum("cld,cle->cde", weighted, vectors)
            matrix = jnp.zeros((n, dim, dim)).at[batch.owner].add(grams, mode="drop") + everything[None]
            right = jnp.zeros((n, dim)).at[batch.owner].add(jnp.sum(weighted, axis=1), mode="drop")
            penalty = self._penalties(jnp.asarray(batch.length), others.shape[0] - 1)
            matrix = matrix + penalty[:, None, None] * jnp.eye(dim)[None]
            solved = cholesky(matrix, right)
            # At the solution, a row's part of the objective with its own penalty is sum of weights - right . p.
            chosen = jnp.sum(batch.length) if batch.weight is None else jnp.sum(batch.weight)
            return total + jnp.stack([chosen - jnp.sum(right * solved), jnp.sum(batch.length)]), solved

        sums, solved = jax.lax.scan(solve_batch, jnp.zeros(2), batches)
        table = jnp.zeros((n_rows, dim)).at[jnp.ravel(batches.row)].set(solved.reshape(-1, dim), mode="drop")
        return table, sums[0], sums[1]


class FoldedALS(ImplicitALS, Additive):
    """iALS for new users: user vectors are solved from the history with item vectors fixed, as in an ALS step.

    Attributes:
        history_length: number of latest interactions used, each of weight 1; repeats count as often as they occur
    """

    history_length: int = 0

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        return jnp.einsum("bd,bnd->bn", self.query_vectors(query), self.item_embedding.lookup(items))

    def query_vectors(self, query: Query) -> Float[Array, "B D"]:
        """User vectors solved from the history; zero for an empty history."""
        return cholesky(*self._system(query))

    def contributions(self, query: Query, items: Int[Array, "B"]) -> Float[Array, "B T"]:
        """Contribution of each history entry j to the score of each query's item i: q_i' M^-1 q_j, M p = sum of q_j.

        [Hu, Koren, Volinsky 2008, section 5]
        """
        assert query.history is not None
        entries, (matrix, _) = query.history.items, self._system(query)
        weights = cholesky(matrix, self.item_embedding.lookup(items))
        q = self.item_embedding.lookup(jnp.maximum(entries, 0))
        return jnp.where(entries < 0, 0.0, jnp.einsum("btd,bd->bt", q, weights))

    def _system(self, query: Query) -> tuple[Float[Array, "B D D"], Float[Array, "B D"]]:
        """Matrix M and right-hand side of each row's least squares problem."""
        assert query.history is not None
        items = query.history.items
        q = self.item_embedding.whole()
        gram, right = sums(q, items)
        n = jnp.sum(items >= 0, axis=1).astype(jnp.float32)
        everything = self.pair_weight * (q.T @ q)
        penalty = self._penalties(n, self.n_items)[:, None, None] * jnp.eye(q.shape[1])[None]
        return gram + everything[None] + penalty, right
