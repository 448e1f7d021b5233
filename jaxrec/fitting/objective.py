"""What a step minimizes: which examples a batch is made of, and what each costs.

An objective turns training interactions into examples on the device (once), and a batch of their positions into a
cost and a weight each; a step minimizes the sum of costs over the sum of weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from pydantic import Field

from jaxrec.data.histories import histories
from jaxrec.data.interactions import Interactions, targets
from jaxrec.errors import InputError
from jaxrec.fitting.example_histories import ExampleHistories, Which, example_histories
from jaxrec.history import DeviceHistories, past
from jaxrec.hyper import Hyper
from jaxrec.losses import multinomial
from jaxrec.membership import Membership, membership
from jaxrec.models.model import FactorizedByRow, Model, Params
from jaxrec.negatives.candidates import SamplerContext
from jaxrec.negatives.sampler import Sampler
from jaxrec.query import Query
from jaxrec.random import RandomStream, uniforms

NEVER = -1e9  # the score of what cannot be chosen; finite, for it is multiplied by 0

Costs = tuple[Float[Array, "B"], Float[Array, "B"]]


class Objective:
    """One way to learn from interactions."""

    split_batch = False  # whether devices that members leave free may share out a batch
    reads_positions = False  # whether it learns from the rank at which an item was shown

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[PyTree, int]:
        """A pytree of device arrays, and how many examples it holds; with histories for a model that asks for them."""
        raise NotImplementedError

    def start(self, params: Params, examples: PyTree) -> Params:
        """The parameters that training starts with, given the model's fresh ones."""
        return params

    def costs(
        self,
        model: Model,
        params: Params,
        examples: PyTree,
        rows: Int[Array, "B"],
        source: RandomStream,
        hyper: Hyper,
        penalized: bool,
    ) -> Costs:
        """Cost and weight of each example of a batch, `rows` being its positions.

        `penalized` adds the model's own `penalty`: static, so that a population that wants none does not pay for it.
        """
        raise NotImplementedError


class Pairs(NamedTuple):
    """One example an interaction."""

    user: Int[Array, "E"]
    item: Int[Array, "E"]
    weight: Float[Array, "E"] | None = None  # None: each weighs 1
    seen: ExampleHistories | None = None  # None: the model asks for no history
    tables: PyTree = None  # the sampler's own
    mined: Int[Array, "U M"] | None = None  # what the member's model was last asked for, see `jaxrec.fitting.mining`

    def query(self, rows: Int[Array, "B"], length: int, which: Which) -> Query:
        """What is known at these examples."""
        return Query(self.user[rows], None if self.seen is None else self.seen.history(rows, length, which))


def pairs(train: Interactions, history_length: int) -> tuple[Pairs, int]:
    """Every interaction that is a target; the others are history only."""
    rows = np.arange(len(train)) if train.target is None else np.flatnonzero(train.target)
    user, item = (jnp.asarray(x[rows], jnp.int32) for x in (train.user, train.item))
    weight = None if train.weight is None else jnp.asarray(train.weight[rows], jnp.float32)
    return Pairs(user, item, weight, example_histories(train, rows) if history_length else None), len(rows)


@dataclass(frozen=True)
class SampledObjective(Objective):
    """Each interaction's item against sampled negatives, by a loss of `jaxrec.losses`.

    negatives: a sampler, see `jaxrec.negatives`
    history:   what a model that asks for histories is shown of them, see `ExampleHistories`
    corrected: scores of positives and negatives less log q, for a softmax: what is drawn often would else be pushed
               down for that alone.   [Bengio and Senecal 2008; Yi et al. 2019]
    """

    loss: Callable[..., Float[Array, "B"]]
    negatives: Sampler
    history: Which = "others"
    corrected: bool = False

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[Pairs, int]:
        """Users, items and weights of the interactions, their histories, and what the sampler needs of the data."""
        examples, n = pairs(train, history_length)
        return examples._replace(tables=self.negatives.prepare(train)), n

    def costs(
        self,
        model: Model,
        params: Params,
        examples: Pairs,
        rows: Int[Array, "B"],
        source: RandomStream,
        hyper: Hyper,
        penalized: bool,
    ) -> Costs:
        """Loss and weight of each interaction."""
        query = examples.query(rows, model.history_length, self.history)
        positive = examples.item[rows]
        given = SamplerContext(examples.tables, query.user, positive, _scorer(model, params, query), examples.mined)
        negatives = self.negatives(source, rows, model.n_items, hyper.n_negatives, given)
        of_positive, of_negatives = _scores(model, params, query, positive, negatives.items)
        if self.corrected and negatives.log_q is not None:
            of_positive = of_positive - negatives.log_q[positive]
            of_negatives = of_negatives - negatives.log_q[negatives.items]
        cost = self.loss(of_positive, of_negatives, negatives.used)
        if penalized:
            of_user, of_item = model.bind(params).penalty(query)
            of_items = of_item[positive] + jnp.sum(of_item[negatives.items] * negatives.used, axis=1)
            cost = cost + of_user + of_items / (1 + jnp.sum(negatives.used, axis=1))
        if examples.weight is None:
            return cost, jnp.ones_like(cost)
        weight = examples.weight[rows]
        return weight * cost, weight


def _scorer(model: Model, params: Params, query: Query) -> Callable[[Array], Array]:
    """Scores of candidates with gradients stopped."""

    def score(items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        return jax.lax.stop_gradient(model.bind(params)(query, items))

    return score


def _scores(
    model: Model, params: Params, query: Query, positive: Int[Array, "B"], negatives: Int[Array, "#B N"]
) -> tuple[Float[Array, "B"], Float[Array, "B N"]]:
    """Scores of each positive and of its negatives; negatives that all share are one matrix product if possible."""
    n_rows = positive.shape[0]
    if negatives.shape[0] < n_rows and isinstance(model, FactorizedByRow):
        bound = model.bind(params)
        asked, own, shared = bound.query_vectors(query), bound.vectors_of(positive), bound.vectors_of(negatives[0])
        return jnp.sum(asked * own, axis=1), asked @ shared.T
    negatives = jnp.broadcast_to(negatives, (n_rows, negatives.shape[1]))
    scores = model.bind(params)(query, jnp.concatenate([positive[:, None], negatives], axis=1))
    return scores[:, 0], scores[:, 1:]


class UserItems(NamedTuple):
    """One example a user: all of their items, one bit an item of the catalog, and the stretch of what they did."""

    user: Int[Array, "E"]
    items: Membership
    past: DeviceHistories | None = None  # None: the model asks for no history
    start: Int[Array, "E"] | None = None
    end: Int[Array, "E"] | None = None

    def query(self, rows: Int[Array, "B"], length: int, share: float, source: RandomStream) -> Query:
        """With a part of each history, drawn for this step; what is not in it is padding."""
        if self.past is None or self.start is None or self.end is None:
            return Query(self.user[rows])
        history = self.past.latest(self.start[rows], self.end[rows], length)
        # By item, not by entry: an item had twice is history or target, never both.
        shown = uniforms(source, rows[:, None], history.items) < share
        return Query(self.user[rows], history._replace(items=jnp.where(shown, history.items, -1)))


@dataclass(frozen=True)
class CatalogObjective(Objective):
    """The full softmax: all items of a user at once against the whole catalog.

    Minimizes what `SampledObjective(softmax)` would with the catalog for negatives, but scores the catalog once
    a user instead of once an interaction. A batch counts users.

    A model that asks for histories would find all it is to predict in them. So each step deals the items of a user at
    random: `history_share` of them are shown as history, and the loss is that of the others, which the history lacks.
    What is shown is left out of the softmax too: it is never a target, and a model that learned so would push down
    whatever is like it. For models to which the order of a history means nothing: what is not shown leaves gaps.
    """

    history_share: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[UserItems, int]:
        """Users with at least one item, their items, and their histories."""
        user, wanted = np.unique(train.user), targets(train)
        if wanted.weight is not None and (wanted.weight != 1).any():
            raise InputError(
                "loss=softmax counts each item of a user once and does not read the weights of rows "
                "(data.event_weights, data.quantity_as=weight, data.label_column with data.position_column): choose "
                "loss=sampled_softmax, or leave the weights out"
            )
        bags = UserItems(jnp.asarray(user, jnp.int32), membership(wanted))
        if history_length:
            known = histories(train)
            start, end = (jnp.asarray(known.offsets[at], jnp.int32) for at in (user, user + 1))
            bags = bags._replace(past=past(known), start=start, end=end)
        return bags, len(user)

    def costs(
        self,
        model: Model,
        params: Params,
        examples: UserItems,
        rows: Int[Array, "B"],
        source: RandomStream,
        hyper: Hyper,
        penalized: bool,
    ) -> Costs:
        """Negative log-likelihood of each user's items (of those not shown as history); the weight is their number."""
        query = examples.query(rows, model.history_length, self.history_share, source)
        chosen = examples.items.rows(query.user, model.n_items).astype(jnp.float32)
        scores = model.bind(params).score_catalog(query)
        if query.history is not None:
            shown = query.history.multihot(model.n_items)
            chosen, scores = chosen * (1 - shown), jnp.where(shown > 0, NEVER, scores)
        n_chosen = jnp.sum(chosen, axis=1)
        cost = multinomial(scores, chosen)
        if penalized:
            of_user, of_item = model.bind(params).penalty(query)
            cost = cost + n_chosen * of_user + chosen @ of_item
        return cost, n_chosen
