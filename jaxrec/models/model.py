"""Base classes of all models: what a family may provide, its defaults, and how it is called.

A family derives from `Model`, or from those of these that say more about it:

    Factorized        a score is a dot product of a query vector and an item vector
    FactorizedByRow   the vectors of a few items can be computed without those of the whole catalog
    Pairwise          layers score each pair; what depends on items alone is computed once
    SequenceModel     a vector at every position of a history, see `models/sequence.py`
    Additive          a score is a sum over the items of the history
    Solved            fitted by a closed form
    Alternating       fitted by alternating steps

`model.bind(params)` is the model with parameters: `model.bind(params).score_catalog(query)`.
"""

from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.hyper import Hyper
from jaxrec.query import Query

Params = dict[str, Any]  # what `init` gives: {"params": {module: {parameter: array}}}


class Model(nn.Module):
    """Scores of items for a query. A family defines `__call__`, `score_catalog`, or both.

    Fields are filled in from the data where a family has them: `n_users`, `n_items`, `history_length`, and
    `user_table`, `item_table`, `user_sizes`, `item_sizes` for features.
    """

    if TYPE_CHECKING:
        n_items: int  # declared by each family, so that it may come after n_users

    history_length = 0  # length of the histories in its queries; 0: it reads none
    needs_features = False  # whether it is nothing without features of users or items

    @property
    def reads_ids(self) -> bool:
        """Whether users are known by their ids: only those who were trained on have scores of their own."""
        return self.has_field("n_users") and not self.history_length

    @property
    def pair_floats(self) -> int:
        """Numbers held for each pair of a user and an item while it is scored."""
        return 1

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates; by default taken from those of the whole catalog."""
        return jnp.take_along_axis(self.score_catalog(query), items, axis=1)

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item; by default those of candidates that are the whole catalog."""
        if type(self).__call__ is Model.__call__:
            raise self._lacks("__call__(query, items) or score_catalog(query)")
        items = jnp.arange(self.n_items, dtype=jnp.int32)
        return self(query, jnp.broadcast_to(items[None, :], (query.user.shape[0], self.n_items)))

    def penalty(self, query: Query) -> tuple[Float[Array, "B"], Float[Array, "I"]]:
        """What each user and each item adds to the loss every time it is in a batch; by default nothing.

        It is asked for where `regularization` is above 0.
        """
        return jnp.zeros(query.user.shape), jnp.zeros(self.n_items)

    def pretrained(self, fresh: Params, train: Interactions) -> Params:
        """Parameters [P, ...] that training starts from, given fresh ones; by default these."""
        return fresh

    def fold_in(self, length: int) -> "Model | None":
        """For a model of user ids: a model of the same parameters that reads histories instead; None: there is none."""
        return None

    def by_history(self, length: int) -> "Model | None":
        """The model for users who were not trained on, known by up to `length` items; None: it cannot score for them.

        A model that reads histories, or nothing of users, stays as it is.
        """
        return self.fold_in(length) if self.has_field("n_users") and not self.history_length else self

    @classmethod
    def has_field(cls, name: str) -> bool:
        """Whether the family declares this field."""
        return name in cls.__dataclass_fields__

    def _lacks(self, methods: str) -> InputError:
        return InputError(f"the model {type(self).__name__} does not define {methods}: see jaxrec.models.Model")


class Factorized(Model):
    """score(u, i) = <query vector, item vector>."""

    def query_vectors(self, query: Query) -> Float[Array, "B D"]:
        """The vector of each query."""
        raise self._lacks("query_vectors(query)")

    def item_vectors(self) -> Float[Array, "I D"]:
        """The vector of every item."""
        raise self._lacks("item_vectors()")

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        return jnp.einsum("bd,bnd->bn", self.query_vectors(query), self.item_vectors()[items])

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item."""
        return self.query_vectors(query) @ self.item_vectors().T


class FactorizedByRow(Factorized):
    """Factorized, with vectors of a few items at a time: negatives that a batch shares become one matrix product."""

    def vectors_of(self, items: Int[Array, "N"]) -> Float[Array, "N D"]:
        """`item_vectors` of these items alone."""
        raise self._lacks("vectors_of(items)")


class Pairwise(Model):
    """Scores of pairs by layers that do not factorize. It states `pair_floats`, by which blocks of users are cut."""

    def item_parts(self) -> PyTree:
        """What depends on items alone: arrays whose last axis is items."""
        raise self._lacks("item_parts()")

    def score_parts(self, query: Query, parts: PyTree) -> Float[Array, "B N"]:
        """Scores of all items of `item_parts`, or of the columns given of it."""
        raise self._lacks("score_parts(query, parts)")

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item."""
        return self.score_parts(query, self.item_parts())


class Additive(Model):
    """A score is a sum over the items of the history, which explains it exactly."""

    def contributions(self, query: Query, items: Int[Array, "B"]) -> Float[Array, "B T"]:
        """What each entry of the history adds to the score of each query's item."""
        raise self._lacks("contributions(query, items)")


class Solved(Model):
    """Fitted by a closed form, `trainer=closed_form`."""

    def prepare(self, train: Interactions) -> PyTree:
        """Arrays made of the data once, on the host."""
        raise self._lacks("prepare(train)")

    def solve(self, prepared: PyTree) -> Params:
        """The parameters of each module, from what `prepare` made; on the device, once a member."""
        raise self._lacks("solve(prepared)")

    def needs_memory(self, n_members: int) -> None:
        """Raises an InputError where memory does not suffice for the solutions of so many members on the host."""

    def solve_on_host(self, train: Interactions, hyper: Hyper) -> Params | None:
        """`solve` for all members, [P, ...], in less memory than a device takes; None: there is no such way."""
        return None


class Alternating(Model):
    """Fitted by alternating steps, `trainer=alternating`."""

    def prepare(self, train: Interactions) -> PyTree:
        """Arrays made of the data once, on the host."""
        raise self._lacks("prepare(train)")

    def als_step(self, prepared: PyTree) -> tuple[Params, Float[Array, ""]]:
        """The parameters of each module one step on, and the objective they reach."""
        raise self._lacks("als_step(prepared)")
