"""Learning from what is known of each pair: a rating, a quantity, whether it was a click. No negatives are drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec.arguments import reads
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.example_histories import ExampleHistories, Which, example_histories
from jaxrec.fitting.objective import Costs, Objective
from jaxrec.hyper import Hyper
from jaxrec.models.model import Model, Params
from jaxrec.query import Query
from jaxrec.random import RandomStream

RANKS = "rank_bias"  # the parameter that is learned beside the model's own


class LabeledPairs(NamedTuple):
    """One example an interaction: what is to be predicted of it, a value or a label 0 or 1."""

    user: Int[Array, "E"]
    item: Int[Array, "E"]
    target: Float[Array, "E"]
    weight: Float[Array, "E"] | None  # None: each weighs 1
    seen: ExampleHistories | None  # None: the model asks for no history
    below: Int[Array, "E"] | None = None  # ranks below the first at which it was shown; None: not known
    ranks: Float[Array, "K"] | None = None  # zeros, one a rank


@reads("value")
@dataclass(frozen=True)
class PointwiseObjective(Objective):
    """Each interaction's own value or label against the score of its pair.

    loss:      of a score and a target, from `jaxrec.losses`
    threshold: the label of an interaction is 1 from this value on, else 0; None: its value itself is to be predicted
    history:   what a model that asks for histories is shown of them, see `ExampleHistories`

    A model with a parameter `bias` (one number added to every score) starts where a constant prediction is best: at
    the mean value, or at the logit of the share of ones.

    Where the data says at which rank each row was shown, a number a rank is learned beside the model and added to its
    score, less that of the first rank: score + b_k - b_1; b_k starts at the best constant of its rank. What is clicked
    for where it stands is learned by b; the model itself never sees ranks, and recommends as if everything stood first.
    Held-out rows are predicted where they were shown.
    [Zhao et al. 2019, Recommending what video to watch next, section 4.3: a shallow tower]
    """

    reads_positions = True

    loss: Callable[..., Float[Array, "B"]]
    threshold: float | None = None
    history: Which = "others"

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[LabeledPairs, int]:
        """Users, items, targets and weights of the interactions, and their histories."""
        rows = np.arange(len(train)) if train.target is None else np.flatnonzero(train.target)
        target = targets_of(train, self.threshold)[rows]
        if self.threshold is not None and target.min() == target.max():
            raise InputError(
                f"loss.threshold={self.threshold:g} makes every label of train {int(target[0])}; the values go from "
                f"{train.value.min():g} to {train.value.max():g}"  # type: ignore[union-attr]
            )
        user, item = (jnp.asarray(x[rows], jnp.int32) for x in (train.user, train.item))
        weight = None if train.weight is None else jnp.asarray(train.weight[rows], jnp.float32)
        histories = example_histories(train, rows) if history_length else None
        judged = LabeledPairs(user, item, jnp.asarray(target), weight, histories)
        if train.position is not None:
            below = train.position[rows] - 1
            judged = judged._replace(below=jnp.asarray(below, jnp.int32), ranks=jnp.zeros(int(below.max()) + 1))
        return judged, len(rows)

    def start(self, params: Params, examples: LabeledPairs) -> Params:
        """The parameters with the best constants: in the `bias`, where there is one, and in a number a rank."""
        own, of_all = {}, jnp.average(examples.target, weights=examples.weight)
        constant = self._constant(of_all)
        if examples.below is not None and examples.ranks is not None:
            weight = jnp.ones_like(examples.target) if examples.weight is None else examples.weight
            total, n = (examples.ranks.at[examples.below].add(x) for x in (weight * examples.target, weight))
            # A row more at each rank, of the mean of all: none is without, and none all or nothing.
            own[RANKS] = self._constant((total + of_all) / (n + 1))
            constant = own[RANKS][0]
        if "bias" in params["params"]:
            own["bias"] = jnp.full_like(params["params"]["bias"], constant)
        return {**params, "params": {**params["params"], **own}}

    def _constant(self, mean: Float[Array, "*K"]) -> Float[Array, "*K"]:
        return mean if self.threshold is None else jnp.log(mean) - jnp.log1p(-mean)

    def costs(
        self,
        model: Model,
        params: Params,
        examples: LabeledPairs,
        rows: Int[Array, "B"],
        source: RandomStream,
        hyper: Hyper,
        penalized: bool,
    ) -> Costs:
        """Loss and weight of each interaction."""
        histories = None
        if examples.seen is not None:
            histories = examples.seen.history(rows, model.history_length, self.history)
        query, item = Query(examples.user[rows], histories), examples.item[rows]
        scores = model.bind(params)(query, item[:, None])[:, 0]
        if examples.below is not None:
            scores = scores + rank_bias(params, examples.below[rows])
        cost = self.loss(scores, examples.target[rows])
        if penalized:
            of_user, of_item = model.bind(params).penalty(query)
            cost = cost + of_user + of_item[item]
        if examples.weight is None:
            return cost, jnp.ones_like(cost)
        weight = examples.weight[rows]
        return weight * cost, weight


def rank_bias(params: Params, below: Int[Array, "B"]) -> Float[Array, "B"]:
    """What was learned that ranks, so many `below` the first, add to a score; deeper than any counts as the last."""
    of_rank = params["params"][RANKS]
    return of_rank[jnp.minimum(below, of_rank.shape[0] - 1)] - of_rank[0]


def targets_of(interactions: Interactions, threshold: float | None) -> Float[np.ndarray, "N"]:
    """What is to be predicted of each row: its value, or whether that reaches the threshold."""
    if interactions.value is None:
        raise InputError(
            f"{interactions.name} has no values to learn from or to predict: name their column in data.value_column, "
            "or use a loss that ranks (loss=bpr) with eval=full"
        )
    if not np.isfinite(interactions.value).all():
        row = int(np.flatnonzero(~np.isfinite(interactions.value))[0])
        raise InputError(
            f"{interactions.name}: the value of row {row + 1} is {interactions.value[row]}; drop such rows"
        )
    return interactions.value if threshold is None else (interactions.value >= threshold).astype(np.float32)
