"""Pointwise objective: learn from the rating, quantity or click label of each pair, without negative sampling."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec.arguments import check_loss, reads
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.example_histories import Which
from jaxrec.fitting.objective import Costs, Objective, Pairs, pairs
from jaxrec.models.model import Model, Params
from jaxrec.random import RandomStream

RANKS = "rank_bias"  # parameter of the objective, trained with those of the model


class LabeledPairs(NamedTuple):
    """Labeled examples, one per interaction: the target is a value, or a label 0 or 1."""

    pairs: Pairs
    target: Float[Array, "E"]
    below: Int[Array, "E"] | None = None  # rank at which the item was shown, from 0; None: unknown
    ranks: Float[Array, "K"] | None = None  # zeros, one per rank


@reads("value")
@dataclass(frozen=True)
class PointwiseObjective(Objective):
    """Loss between the score of each interaction and its value or label.

    Attributes:
        loss: function of scores and targets, from `jaxrec.losses`
        threshold: the label of an interaction is 1 if its value is at least this, else 0; None: the target is the value
        history: which entries a model that reads histories gets, see `ExampleHistories`

    A parameter `bias` of the model (one number added to every score) is initialized to the best constant prediction:
    the mean value, or the logit of the share of ones.

    If the data has the rank at which each item was shown, a position bias per rank is learned and added to the score,
    relative to the first rank: score + b_k - b_1; b_k is initialized to the best constant of its rank. Position
    effects on clicks are absorbed by b; the model itself does not see ranks and recommends as if every item were shown
    first. Predictions of held-out rows include the bias of the rank at which they were shown.
    [Zhao et al. 2019, Recommending what video to watch next, section 4.3: a shallow tower]
    """

    reads_positions = True

    loss: Callable[..., Float[Array, "B"]]
    threshold: float | None = None
    history: Which = "others"

    def __post_init__(self) -> None:
        check_loss(self.loss, "scores", "targets")

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[LabeledPairs, int]:
        """Users, items, targets and weights of the interactions, and their histories."""
        rows = slice(None) if train.target is None else np.flatnonzero(train.target)
        target = targets_of(train, self.threshold)[rows]
        if self.threshold is not None and target.min() == target.max():
            low, high = (float(end(train.value[rows])) for end in (np.min, np.max))  # type: ignore[index]
            remedy = f"choose a threshold above {low:g} and at most {high:g}"
            if low == high:
                remedy = f"as all values are {low:g}, no threshold separates them: choose a loss without labels"
            raise InputError(f"loss.threshold={self.threshold:g} makes every label of train {int(target[0])}: {remedy}")
        examples = LabeledPairs(pairs(train, history_length)[0], jnp.asarray(target))
        if train.position is not None:
            below = train.position[rows] - 1
            examples = examples._replace(below=jnp.asarray(below, jnp.int32), ranks=jnp.zeros(int(below.max()) + 1))
        return examples, len(target)

    def start(self, params: Params, examples: LabeledPairs) -> Params:
        """Initialize the model's `bias`, if it has one, and the position biases to the best constants."""
        own, of_all = {}, jnp.average(examples.target, weights=examples.pairs.weight)
        constant = self._constant(of_all)
        if examples.below is not None and examples.ranks is not None:
            weight = jnp.ones_like(examples.target) if examples.pairs.weight is None else examples.pairs.weight
            total, n = (examples.ranks.at[examples.below].add(x) for x in (weight * examples.target, weight))
            # Smoothing: one pseudo-row with the overall mean per rank, so that no rank is empty or has mean 0 or 1.
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
        penalized: bool,
    ) -> Costs:
        """Loss and weight of each interaction."""
        query = examples.pairs.query(rows, model.history_length, self.history)
        item = examples.pairs.item[rows]
        scores = model.bind(params)(query, item[:, None])[:, 0]
        if examples.below is not None:
            scores = scores + rank_bias(params, examples.below[rows])
        cost = self.loss(scores, examples.target[rows])
        if penalized:
            of_user, of_item = model.bind(params).penalty(query)
            cost = cost + of_user + of_item[item]
        return examples.pairs.weighted(cost, rows)


def rank_bias(params: Params, below: Int[Array, "B"]) -> Float[Array, "B"]:
    """Position bias relative to the first rank, `below` counting from 0; ranks beyond the last use that of the last."""
    of_rank = params["params"][RANKS]
    return of_rank[jnp.minimum(below, of_rank.shape[0] - 1)] - of_rank[0]


def targets_of(interactions: Interactions, threshold: float | None) -> Float[np.ndarray, "N"]:
    """Target of each row: its value, or 1 if it is at least `threshold`, else 0."""
    if interactions.value is None:
        raise InputError(
            f"{interactions.name} has no values, which this loss or evaluation needs: set data.value_column, or choose "
            "a ranking loss (loss=bpr) with eval=full"
        )
    if not np.isfinite(interactions.value).all():
        row = int(np.flatnonzero(~np.isfinite(interactions.value))[0])
        raise InputError(
            f"{interactions.name}: the value of row {row + 1} is {interactions.value[row]}; remove such rows"
        )
    return interactions.value if threshold is None else (interactions.value >= threshold).astype(np.float32)
