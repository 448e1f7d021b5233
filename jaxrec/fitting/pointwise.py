"""Learning from what is known of each pair: a rating, a quantity, whether it was a click. No negatives are drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.objective import Costs
from jaxrec.fitting.seen import Seen, Which, seen
from jaxrec.hyper import Hyper
from jaxrec.query import Query
from jaxrec.random import Stream


class Judged(NamedTuple):
    """One example an interaction: what is to be predicted of it, a value or a label 0 or 1."""

    user: Int[Array, "E"]
    item: Int[Array, "E"]
    target: Float[Array, "E"]
    weight: Float[Array, "E"] | None  # None: each weighs 1
    seen: Seen | None  # None: the model asks for no history


@dataclass(frozen=True)
class PointwiseObjective:
    """Each interaction's own value or label against the score of its pair.

    loss:      of a score and a target, from `jaxrec.losses`
    threshold: the label of an interaction is 1 from this value on, else 0; None: its value itself is to be predicted
    history:   what a model that asks for histories is shown of them, see `Seen`

    A model with a parameter `bias` (one number added to every score) starts where a constant prediction is best: at
    the mean value, or at the logit of the share of ones.
    """

    loss: Callable[..., Float[Array, "B"]]
    threshold: float | None = None
    history: Which = "others"

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[Judged, int]:
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
        histories = seen(train, rows) if history_length else None
        return Judged(user, item, jnp.asarray(target), weight, histories), len(rows)

    def start(self, params: Any, examples: Judged) -> Any:
        """The parameters with the `bias`, where there is one, at the best constant."""
        if "bias" not in params["params"]:
            return params
        mean = jnp.average(examples.target, weights=examples.weight)
        constant = mean if self.threshold is None else jnp.log(mean) - jnp.log1p(-mean)
        bias = jnp.full_like(params["params"]["bias"], constant)
        return {**params, "params": {**params["params"], "bias": bias}}

    def costs(
        self,
        model: nn.Module,
        params: Any,
        examples: Judged,
        rows: Int[Array, "B"],
        source: Stream,
        hyper: Hyper,
        penalised: bool,
    ) -> Costs:
        """Loss and weight of each interaction."""
        histories = None
        if examples.seen is not None:
            histories = examples.seen.history(rows, getattr(model, "history_length", 0), self.history)
        query, item = Query(examples.user[rows], histories), examples.item[rows]
        scores: Any = model.apply(params, query, item[:, None])
        cost = self.loss(scores[:, 0], examples.target[rows])
        if penalised:
            penalty: Any = model.apply(params, query, method="penalty")
            of_user, of_item = penalty
            cost = cost + of_user + of_item[item]
        if examples.weight is None:
            return cost, jnp.ones_like(cost)
        weight = examples.weight[rows]
        return weight * cost, weight


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
