"""Base classes of all models: the methods a model family implements, and their defaults.

A family derives from `Model`, or from the more specific base classes that apply:

    Factorized        a score compares a query vector with an item vector, by default as their dot product
    FactorizedByRow   the vectors of a few items can be computed without those of the whole catalog
    Pairwise          a network scores each user-item pair; item-only parts are computed once
    SequenceModel     a vector at every position of a history, see `models/sequence.py`
    Additive          a score is a sum over the items of the history
    Solved            fitted by a closed form
    Alternating       fitted by alternating steps
    Prepared          trained by gradient descent with statistics of the training data, e.g. their graph

`model.bind(params)` is the model with parameters: `model.bind(params).score_catalog(query)`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.features import FeatureTables
from jaxrec.history import History
from jaxrec.mesh import common_to_batch
from jaxrec.query import Query

Params = dict[str, Any]  # as returned by `init`: {"params": {module: {parameter: array}}}


class Model(nn.Module):
    """A model that scores items for a query. A family defines `__call__`, `score_catalog`, or both.

    Fields with these names are set from the data: `n_users`, `n_items`, `history_length`, `density`, and
    `user_table`, `item_table`, `user_sizes`, `item_sizes` for features, and `n_events`, the number of event types.
    """

    if TYPE_CHECKING:
        n_items: int  # declared by each family, so that n_users may come first

    history_length = 0  # length of the histories in its queries; 0: the model reads no histories
    needs_features = False  # whether the model requires features of users or items

    @property
    def history_columns(self) -> tuple[str, ...]:
        """Columns of `History` that the model reads besides the items; `recommend` and the server pass these only."""
        return ()

    @property
    def tables_read(self) -> tuple[str, ...]:
        """Names of the feature tables that the model reads: those for which it has fields."""
        return tuple(name for name in FeatureTables._fields if self.has_field(name))

    @property
    def reads_ids(self) -> bool:
        """Whether users are identified by id, so that only users in the training data have their own scores."""
        return self.has_field("n_users") and not self.history_length

    @property
    def pair_floats(self) -> int:
        """Floats allocated per user-item pair during scoring."""
        return 1

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates; by default gathered from `score_catalog`."""
        return jnp.take_along_axis(self.score_catalog(query), items, axis=1)

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item; by default `__call__` with the whole catalog as candidates."""
        if type(self).__call__ is Model.__call__:
            raise self._lacks("__call__(query, items) or score_catalog(query)")
        items = jnp.arange(self.n_items, dtype=jnp.int32)
        return self(query, jnp.broadcast_to(items[None, :], (query.user.shape[0], self.n_items)))

    def penalty(self, query: Query) -> tuple[Float[Array, "B"], Float[Array, "I"]]:
        """Penalty of each user and each item per occurrence in a batch; 0 by default.

        Only called if `regularization` is above 0.
        """
        return jnp.zeros(query.user.shape), jnp.zeros(self.n_items)

    def pretrained(self, fresh: Params, train: Interactions) -> Params:
        """Initial parameters [P, ...] of training; by default the randomly initialized ones in `fresh`."""
        return fresh

    def check_data(self, train: Interactions) -> None:
        """Raise an InputError if the training data lacks something that the model reads."""

    def fold_in(self, length: int) -> "Model | None":
        """A model with the same parameters that reads histories instead of user ids; None if not supported."""
        return None

    def by_history(self, length: int) -> "Model | None":
        """The model for new users with histories of up to `length` items; None if it cannot score new users.

        A model that reads histories, or no user data at all, is returned unchanged.
        """
        return self.fold_in(length) if self.has_field("n_users") and not self.history_length else self

    @classmethod
    def has_field(cls, name: str) -> bool:
        """Whether the model family declares this field."""
        return name in cls.__dataclass_fields__

    def _lacks(self, methods: str) -> InputError:
        return InputError(f"model class {type(self).__name__} must define {methods}: see jaxrec.models.Model")


class Factorized(Model):
    """A model whose score is a dot product: score(u, i) = <query vector, item vector>.

    A family may compare its vectors in another way: then it defines `all_pairs` and `own_pairs`, and
    `is_dot_product` is False.
    """

    @property
    def is_dot_product(self) -> bool:
        """Whether scores are dot products of the vectors, as approximate search and exported vectors need."""
        return True

    def query_vectors(self, query: Query) -> Float[Array, "B D"]:
        """The vector of each query."""
        raise self._lacks("query_vectors(query)")

    def item_vectors(self) -> Float[Array, "I D"]:
        """The vector of every item."""
        raise self._lacks("item_vectors()")

    def all_pairs(self, queries: Float[Array, "B D"], items: Float[Array, "N D2"]) -> Float[Array, "B N"]:
        """Scores of every query vector with every item vector."""
        return queries @ items.T

    def own_pairs(self, queries: Float[Array, "B D"], items: Float[Array, "B N D2"]) -> Float[Array, "B N"]:
        """Scores of every query vector with its own item vectors."""
        return jnp.einsum("bd,bnd->bn", queries, items)

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        return self.own_pairs(self.query_vectors(query), self.item_vectors()[items])

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item."""
        return self.all_pairs(self.query_vectors(query), self.item_vectors())


def has_dot_products(model: Model) -> TypeGuard[Factorized]:
    """Whether scores are dot products of `query_vectors` and `item_vectors`."""
    return isinstance(model, Factorized) and model.is_dot_product


class FactorizedByRow(Factorized):
    """Factorized model that can compute the vectors of a few items; batch-shared negatives are one matrix product."""

    def vectors_of(self, items: Int[Array, "N"]) -> Float[Array, "N D"]:
        """`item_vectors` of these items only."""
        raise self._lacks("vectors_of(items)")


class Pairwise(Model):
    """A model that scores each user-item pair by a network; `pair_floats` determines the size of user blocks."""

    def item_parts(self) -> PyTree:
        """Precomputed item-only parts: arrays whose last axis is items."""
        raise self._lacks("item_parts()")

    def score_parts(self, query: Query, parts: PyTree) -> Float[Array, "B N"]:
        """Scores of the items in `parts`, which holds all or some columns of `item_parts`."""
        raise self._lacks("score_parts(query, parts)")

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item."""
        with common_to_batch():
            parts = self.item_parts()
        return self.score_parts(query, parts)


class Additive(Model):
    """A model whose score is a sum over the items of the history, which is an exact explanation of it."""

    def contributions(self, query: Query, items: Int[Array, "B"]) -> Float[Array, "B T"]:
        """Contribution of each history entry to the score of each query's item."""
        raise self._lacks("contributions(query, items)")


class Solved(Model):
    """A model with a closed-form solution, `trainer=closed_form`."""

    def prepare(self, train: Interactions) -> PyTree:
        """Statistics of the training data, computed once on the host."""
        raise self._lacks("prepare(train)")

    def solve(self, prepared: PyTree) -> Params:
        """The parameters of each module from the result of `prepare`; runs on the device, once per member."""
        raise self._lacks("solve(prepared)")

    def needs_memory(self, n_members: int) -> None:
        """Raise an InputError if the solutions of `n_members` members do not fit into host memory."""

    def solve_on_host(self, train: Interactions, members: Sequence["Model"]) -> Params | None:
        """`solve` for these models [P, ...] on the host with less memory than on a device; None if not supported."""
        return None


class Alternating(Model):
    """A model fitted by alternating least squares, `trainer=alternating`."""

    def prepare(self, train: Interactions) -> PyTree:
        """Statistics of the training data, computed once on the host."""
        raise self._lacks("prepare(train)")

    def als_step(self, prepared: PyTree) -> tuple[Params, Float[Array, ""]]:
        """The parameters of each module after one step, and the value of the objective."""
        raise self._lacks("als_step(prepared)")


class Prepared(Model):
    """A model that reads statistics of the training data while it is trained by gradient descent, and only then.

    A family declares the field `prepared`, which holds them in training and is None elsewhere: the model is validated,
    stored and served with the parameters of `finished`. `pretrained` is not supported.
    """

    def prepare(self, train: Interactions) -> PyTree:
        """Statistics of the training data as device arrays, computed once."""
        raise self._lacks("prepare(train)")

    def finished(self) -> Params:
        """The parameters of each module that score without `prepared`, of the shapes of those in training."""
        raise self._lacks("finished()")


def parameter_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by its path, without allocating any."""
    length = model.history_length
    query = Query(jnp.zeros(1, jnp.int32), History(jnp.full((1, length), -1, jnp.int32)) if length else None)
    params = jax.eval_shape(model.init, jax.random.key(0), query, jnp.zeros((1, 1), jnp.int32))
    return {jax.tree_util.keystr(at): leaf.shape for at, leaf in jax.tree_util.tree_leaves_with_path(params)}
