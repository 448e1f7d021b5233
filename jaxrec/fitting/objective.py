"""Training objectives: the examples of a batch, and the cost of each.

An objective converts training interactions to examples on the device once, and computes a cost and a weight for each
example of a batch; a step minimizes the sum of costs divided by the sum of weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from pydantic import Field

from jaxrec.arguments import check_loss
from jaxrec.data.interactions import Interactions, targets
from jaxrec.errors import InputError
from jaxrec.fitting.example_histories import ExampleHistories, Which, example_histories
from jaxrec.history import DeviceHistories, device_histories
from jaxrec.losses import multinomial
from jaxrec.membership import Membership, membership
from jaxrec.mesh import common_to_batch
from jaxrec.models.model import FactorizedByRow, Model, Params
from jaxrec.negatives.candidates import SamplerContext
from jaxrec.negatives.sampler import Sampler
from jaxrec.query import Query
from jaxrec.random import RandomStream, uniforms

MASKED_SCORE = -1e9  # score of masked items; finite, because it is multiplied by 0

Costs = tuple[Float[Array, "B"], Float[Array, "B"]]


class Objective:
    """Base class of training objectives."""

    split_batch = False  # whether a batch may be split over devices that no member uses
    reads_positions = False  # whether the objective uses the rank at which an item was shown
    reads_start = False  # whether the objective uses `EpochStart`, as the field `start` of its examples

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[PyTree, int]:
        """A pytree of device arrays and the number of examples; includes histories if `history_length` is above 0."""
        raise NotImplementedError

    def with_columns(self, examples: PyTree, train: Interactions, columns: tuple[str, ...]) -> PyTree:
        """The examples with these columns of the histories, for a model that reads more than items."""
        raise InputError(
            f"this loss does not pass the columns {', '.join(columns)} of histories to the model: choose "
            "loss=sequence_softmax (for BERT4Rec loss=masked_softmax), or omit them from the model"
        )

    def start(self, params: Params, examples: PyTree) -> Params:
        """Initial parameters of training, from the model's randomly initialized ones."""
        return params

    def costs(
        self,
        model: Model,
        params: Params,
        examples: PyTree,
        rows: Int[Array, "B"],
        source: RandomStream,
        penalized: bool,
    ) -> Costs:
        """Cost and weight of each example of a batch.

        Args:
            model: the model, with the member's hyperparameters.
            params: its parameters.
            examples: result of `examples`.
            rows: indices of the batch's examples.
            source: random stream of the epoch.
            penalized: add the model's own `penalty`; static, so that it costs nothing when it is not used.
        """
        raise NotImplementedError


class Pairs(NamedTuple):
    """Examples of a sampled objective: one per interaction."""

    user: Int[Array, "E"]
    item: Int[Array, "E"]
    weight: Float[Array, "E"] | None = None  # None: all weights are 1
    seen: ExampleHistories | None = None  # None: the model reads no histories
    tables: PyTree = None  # tables of the sampler
    mined: Int[Array, "U M"] | None = None  # the member's latest mined negatives, see `jaxrec.fitting.mining`

    def query(self, rows: Int[Array, "B"], length: int, which: Which) -> Query:
        """Users and histories of these examples."""
        return Query(self.user[rows], None if self.seen is None else self.seen.history(rows, length, which))

    def weighted(self, cost: Float[Array, "B"], rows: Int[Array, "B"]) -> Costs:
        """Costs of these examples, times their weights, and the weights."""
        if self.weight is None:
            return cost, jnp.ones_like(cost)
        weight = self.weight[rows]
        return weight * cost, weight


def learnable(train: Interactions, history_length: int) -> Interactions:
    """The interactions that a model learns from: if it reads no histories, those of all kinds are targets."""
    return train if history_length or train.target is None else replace(train, target=None)


def pairs(train: Interactions, history_length: int) -> tuple[Pairs, int]:
    """Examples and their number: every interaction that is a target; others appear in histories only."""
    rows = slice(None) if train.target is None else np.flatnonzero(train.target)
    user, item = (jnp.asarray(x[rows], jnp.int32) for x in (train.user, train.item))
    weight = None if train.weight is None else jnp.asarray(train.weight[rows], jnp.float32)
    histories = example_histories(train, np.arange(len(train))[rows]) if history_length else None
    return Pairs(user, item, weight, histories), len(user)


@dataclass(frozen=True)
class SampledObjective(Objective):
    """Loss of each interaction's item against sampled negatives, by a function of `jaxrec.losses`.

    Attributes:
        loss: function of (positive [B], negatives [B, N], used [B, N])
        negatives: a sampler, see `jaxrec.negatives`
        history: which entries a model that reads histories gets, see `ExampleHistories`
        corrected: subtract log q from the scores of positives and negatives (logQ correction for a softmax), because
            items that are sampled often would otherwise be under-scored.   [Bengio and Senecal 2008; Yi et al. 2019]
    """

    loss: Callable[..., Float[Array, "B"]]
    negatives: Sampler
    history: Which = "others"
    corrected: bool = False

    def __post_init__(self) -> None:
        check_loss(self.loss, "positive", "negatives", "used")

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[Pairs, int]:
        """Users, items and weights of the interactions, their histories, and the tables of the sampler."""
        train = learnable(train, history_length)
        examples, n = pairs(train, history_length)
        return examples._replace(tables=self.negatives.prepare(train)), n

    def costs(
        self,
        model: Model,
        params: Params,
        examples: Pairs,
        rows: Int[Array, "B"],
        source: RandomStream,
        penalized: bool,
    ) -> Costs:
        """Loss and weight of each interaction."""
        query = examples.query(rows, model.history_length, self.history)
        positive = examples.item[rows]
        context = SamplerContext(examples.tables, query.user, positive, _scorer(model, params, query), examples.mined)
        negatives = self.negatives.draw(source, rows, model.n_items, context)
        of_positive, of_negatives = _scores(model, params, query, positive, negatives.items)
        if self.corrected and negatives.log_q is not None:
            of_positive = of_positive - negatives.log_q[positive]
            of_negatives = of_negatives - negatives.log_q[negatives.items]
        cost = self.loss(of_positive, of_negatives, negatives.used)
        if penalized:
            of_user, of_item = model.bind(params).penalty(query)
            of_items = of_item[positive] + jnp.sum(of_item[negatives.items] * negatives.used, axis=1)
            cost = cost + of_user + of_items / (1 + jnp.sum(negatives.used, axis=1))
        return examples.weighted(cost, rows)


def _scorer(model: Model, params: Params, query: Query) -> Callable[[Array], Array]:
    """Scores of candidates with gradients stopped."""

    def score(items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        return jax.lax.stop_gradient(model.bind(params)(query, items))

    return score


def _scores(
    model: Model, params: Params, query: Query, positive: Int[Array, "B"], negatives: Int[Array, "#B N"]
) -> tuple[Float[Array, "B"], Float[Array, "B N"]]:
    """Scores of each positive and of its negatives; batch-shared negatives are one matrix product if possible."""
    n_rows = positive.shape[0]
    if negatives.shape[0] < n_rows and isinstance(model, FactorizedByRow):
        bound = model.bind(params)
        vectors, own = bound.query_vectors(query), bound.vectors_of(positive)
        with common_to_batch():
            shared = bound.vectors_of(negatives[0])
        return jnp.sum(vectors * own, axis=1), vectors @ shared.T
    negatives = jnp.broadcast_to(negatives, (n_rows, negatives.shape[1]))
    scores = model.bind(params)(query, jnp.concatenate([positive[:, None], negatives], axis=1))
    return scores[:, 0], scores[:, 1:]


class EpochStart(NamedTuple):
    """State of a member at the start of the current epoch."""

    params: Params
    n_epochs: Int[Array, ""]  # epochs trained until then


class UserItems(NamedTuple):
    """Examples of a catalog objective: one per user, with the item set as bits."""

    user: Int[Array, "E"]
    items: Membership
    histories: DeviceHistories | None = None  # None: the model reads no histories
    start: EpochStart | None = None  # for objectives with `reads_start`, in each epoch

    def chosen(self, rows: Int[Array, "B"], n_items: int) -> Float[Array, "B I"]:
        """1 for the items of each user, 0 for the others."""
        return self.items.rows(self.user[rows], n_items).astype(jnp.float32)

    def query(self, rows: Int[Array, "B"], length: int, share: float | Float[Array, ""], source: RandomStream) -> Query:
        """Queries with a random subset of each history, resampled each step; other entries are padding."""
        if self.histories is None:
            return Query(self.user[rows])
        history = self.histories.latest(rows, length)
        # Drawn per item, not per entry, so that a repeated item is either history or target, never both.
        is_history = uniforms(source, rows[:, None], history.items) < share
        return Query(self.user[rows], history._replace(items=jnp.where(is_history, history.items, -1)))


class UserObjective(Objective):
    """Base class of objectives whose examples are users."""

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[UserItems, int]:
        """Users with at least one item, their items, and their histories."""
        user, positives = np.unique(train.user), targets(learnable(train, history_length))
        if positives.weight is not None and (positives.weight != 1).any():
            raise InputError(
                "this loss counts each item of a user once and cannot use interaction weights "
                "(data.event_weights, data.quantity_as=weight, data.label_column with data.position_column): choose "
                "loss=sampled_softmax, or remove the weights"
            )
        examples = UserItems(jnp.asarray(user, jnp.int32), membership(positives))
        if history_length:
            offsets = train.histories.offsets
            known = device_histories(train.histories, offsets[user], offsets[user + 1])
            examples = examples._replace(histories=known)
        return examples, len(user)


@dataclass(frozen=True)
class CatalogObjective(UserObjective):
    """Full softmax over the catalog, for all items of a user at once. A batch counts users.

    The objective equals `SampledObjective(softmax)` with the whole catalog as negatives, but scores the catalog once
    per user instead of once per interaction.

    For models that read histories, the items of a user are split at random in each step: a share `history_share` is
    shown as history, and the loss is computed on the others, which are then not in the history. Items shown as history
    are also masked in the softmax: they are never targets, and treating them as negatives would lower the scores of
    similar items. Suitable for models that ignore the order of a history, because hidden items leave gaps.

    Attributes:
        history_share: expected share of a user's items that is shown as history
    """

    history_share: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def costs(
        self,
        model: Model,
        params: Params,
        examples: UserItems,
        rows: Int[Array, "B"],
        source: RandomStream,
        penalized: bool,
    ) -> Costs:
        """Negative log-likelihood of each user's items that are not shown as history; the weight is their number."""
        query = examples.query(rows, model.history_length, self.history_share, source)
        chosen = examples.chosen(rows, model.n_items)
        scores = model.bind(params).score_catalog(query)
        if query.history is not None:
            is_history = query.history.multihot(model.n_items)
            chosen, scores = chosen * (1 - is_history), jnp.where(is_history > 0, MASKED_SCORE, scores)
        n_chosen = jnp.sum(chosen, axis=1)
        cost = multinomial(scores, chosen)
        if penalized:
            of_user, of_item = model.bind(params).penalty(query)
            cost = cost + n_chosen * of_user + chosen @ of_item
        return cost, n_chosen
