"""Implicit alternating least squares: score(u, i) = <p_u, q_i>.

Minimizes  sum over observed pairs of (1 - <p_u, q_i>)^2  +  unobserved_weight * sum over all pairs of <p_u, q_i>^2
+ regularization * (sum_u (n_u + unobserved_weight * I)^nu |p_u|^2 + sum_i (n_i + unobserved_weight * U)^nu |q_i|^2),
where n_u and n_i are the numbers of interactions of a user and of an item. With item vectors fixed, each user is a
least squares problem:
(sum over u's items of q q' + unobserved_weight Q'Q + regularization (n_u + unobserved_weight I)^nu) p = sum of q.
It is solved for all columns at once, for one block of columns after another, or approximately, see `least_squares`.
[Hu, Koren, Volinsky 2008; Rendle, Krichene, Zhang, Koren 2022, Revisiting the performance of iALS on item
recommendation benchmarks]
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from jaxrec import backend
from jaxrec.data.interactions import Interactions
from jaxrec.data.padded_segments import PaddedSegments, padded_segments
from jaxrec.hyper import Padded, Swept, Traced
from jaxrec.mesh import map_over_batch
from jaxrec.models.embedding import Embedding
from jaxrec.models.fold_in import cholesky, constructor_arguments, sums
from jaxrec.models.least_squares import Rows, Whitened, by_blocks, exact
from jaxrec.models.model import Additive, Alternating, Factorized, Params
from jaxrec.query import Query

SEGMENT = 64  # interactions of a row that are multiplied at a time


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
        block: number of columns that are solved for at once; None: all
        cg_steps: instead, steps of conjugate gradients from the current vectors; None: solve
        width: columns in use; None: all

    Memory: [R, D, D] matrices of a batch of R rows, which depends on the backend, not on the data. Time per step:
    interactions x D^2 + (users + items) x D^3. With blocks of B columns: [R, B, B] matrices, and interactions x D B
    + (users + items) x D (B^2 + D). With S steps of conjugate gradients: no matrices, and interactions x D S
    + (users + items) x D^2 S.
    Fidelity: the papers' objective, initialization and order of solves. An interaction's weight (default 1) multiplies
    its squared error; a repeated pair counts as often as it occurs.
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
    block: PositiveInt | None = 64
    cg_steps: PositiveInt | None = None
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
        return FoldedALS(**constructor_arguments(self), history_length=length, parent=None)

    def prepare(self, train: Interactions) -> Sides:
        """The interactions grouped by user and by item, in batches of one shape."""
        u, i = self.n_users, self.n_items
        user, item, weight = train.user, train.item, train.weight
        rows = backend.block(backend.choices().solve_block, SEGMENT * self.embedding_dim)
        group = partial(padded_segments, weight=weight, length=SEGMENT, per_batch=rows)
        return Sides(group(user, item, n_rows=u, padding=i), group(item, user, n_rows=i, padding=u))

    def als_step(self, sides: Sides) -> tuple[Params, Float[Array, ""]]:
        """Solve for users with item vectors fixed, then for items with those user vectors; also return the objective.

        Unused columns are zero in every matrix and right-hand side, so they stay zero.
        """
        p, q = self.user_embedding.whole(), self.item_embedding.whole()
        p, _, _ = self._solve(p, q, sides.users)
        q, left, n = self._solve(q, p, sides.items)
        penalty = self._penalties(jnp.ravel(jnp.asarray(sides.users.length)), self.n_items)
        row = jnp.asarray(sides.users.row).ravel()
        squared = jnp.sum(p.at[row].get(mode="fill", fill_value=0) ** 2, axis=1)
        loss = (left + jnp.sum(penalty * squared)) / n
        return {"user_embedding": {"table": p}, "item_embedding": {"table": q}}, loss

    @property
    def pair_weight(self) -> float | Traced:
        """The weight of an unobserved pair."""
        return self.unobserved_total * self.density if self.unobserved_weight is None else self.unobserved_weight

    def _penalties(self, length: Float[Array, "*B"], n_others: int) -> Float[Array, "*B"]:
        return jnp.asarray(self.regularization * (length + self.pair_weight * n_others) ** self.nu)

    def _solve(
        self, current: Float[Array, "R D"], others: Float[Array, "N D"], batches: PaddedSegments
    ) -> tuple[Float[Array, "R D"], Float[Array, ""], Float[Array, ""]]:
        """Solve for all rows with the other side fixed.

        Returns:
            the vectors, the objective without the penalty of the other side, and the number of interactions.
        """
        (n_others, dim), n_interactions = others.shape, jnp.sum(jnp.asarray(batches.length))
        everything = self.pair_weight * (others.T @ others)
        solve: Callable[..., tuple[Array, Array]] = exact
        basis = None
        if self.cg_steps is not None:
            mean, unobserved = n_interactions / len(current), self.pair_weight * n_others
            level = self._penalties(mean, n_others) / (1.0 + mean / unobserved)
            basis = Whitened.of(everything, level)
            current, others, everything = current @ basis.lower, others @ basis.inverse.T, basis.everything
            solve = partial(basis.conjugate_gradients, self.cg_steps)
        elif self.block is not None and self.block < dim:
            solve = partial(by_blocks, self.block)
            # Further columns of zeros, which stay zero, for a last block of the same size.
            more = (0, -dim % self.block)
            current, others = (jnp.pad(table, ((0, 0), more)) for table in (current, others))
            everything = jnp.pad(everything, (more, more))
        others = jnp.concatenate([others, jnp.zeros_like(others[:1])])  # padding is a vector of zeros

        def solve_batch(batch: PaddedSegments) -> tuple[Array, Array]:
            owner, entry, length = (jnp.asarray(x) for x in (batch.owner, batch.entry, batch.length))
            weight = None if batch.weight is None else jnp.asarray(batch.weight)
            rows = Rows(owner, others[entry], entry < n_others, weight)
            start = current.at[batch.row].get(mode="fill", fill_value=0)
            return solve(rows, start, everything, self._penalties(length, n_others))

        solved, left = map_over_batch(solve_batch, batches)
        solved = solved.reshape(-1, current.shape[1])
        table = jnp.zeros_like(current).at[jnp.ravel(batches.row)].set(solved, mode="drop")
        if basis is not None:
            table = table @ basis.inverse
        return table[:, :dim], jnp.sum(left), n_interactions


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
