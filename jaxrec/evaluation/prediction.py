"""Evaluation of predicted values and labels in addition to the ranking: eval=values and eval=clicks."""

from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrec import programs
from jaxrec.blockwise import Block, Blockwise, block_size, map_members
from jaxrec.data.splits.split import HeldOut
from jaxrec.evaluation.evaluation import Evaluator, Measured
from jaxrec.evaluation.full_catalog import DEFAULT, FullCatalog
from jaxrec.fallback import Fallback
from jaxrec.fitting.pointwise import rank_bias, targets_of
from jaxrec.hyper import Hyper
from jaxrec.metric_names import CATALOG_KINDS, LABELS, OF_LABELS, OF_VALUES, VALUES, Metric, keys, metrics
from jaxrec.models.model import Model, Params
from jaxrec.ranking import QueryRows, Rows, rows_of


class Predictor:
    """Scores every held-out pair for every member of a population, one block of pairs at a time.

    If the data has the rank at which a row was shown, the learned position bias of that rank is added.
    """

    def __init__(self, model: Model, held_out: HeldOut, block: int | None = None) -> None:
        known, user = held_out.known.histories, held_out.target.user
        queries = QueryRows.for_users(user, known, held_out.known.encoded, filter_seen=False)
        position = held_out.target.position
        below = None if position is None else jnp.asarray(position - 1, jnp.int32)
        pairs = rows_of(model, queries), jnp.asarray(held_out.target.item, jnp.int32), below
        # Some models score the whole catalog to score a pair.
        rows_at_a_time = block_size(len(user), model.n_items, block)
        self.blockwise = Blockwise(_score_member, (model, None), pairs, len(user), rows_at_a_time)

    def __call__(
        self, params: Params, hyper: Hyper, active: Bool[np.ndarray, "P"] | None = None
    ) -> Float[Array, "P R"]:
        """Scores in the order of the held-out rows, from parameters and hyperparameters with a member axis."""
        return self.blockwise(params, hyper, active)[0]


def _score_member(
    models: tuple[Model, None],
    pairs: tuple[Rows, Int[Array, "R"], Int[Array, "R"] | None],
    params: Params,
    hyper: Hyper,
) -> Block:
    """Function that scores a block of pairs for one member."""
    queries, items, below = pairs
    model, _ = queries.members(models, hyper)

    def score(rows: Int[Array, "B"]) -> tuple[Array, Array]:
        scores = model.bind(params)(queries.query(rows, model.history_length), items[rows][:, None])
        predicted = scores[:, 0] if below is None else scores[:, 0] + rank_bias(params, below[rows])
        return predicted, jnp.isfinite(scores).all()

    return score


class PredictionEvaluator(Evaluator):
    """Adds to a ranking evaluator the metrics of predicted values or labels of the held-out rows."""

    def __init__(
        self,
        ranking: Evaluator,
        model: Model,
        held_out: HeldOut,
        chosen: tuple[Metric, ...],
        threshold: float | None,
        block: int | None,
    ) -> None:
        self.ranking, self.model, self.ground_truth = ranking, model, ranking.ground_truth
        self._predict = Predictor(model, held_out, block)
        self._targets = jnp.asarray(targets_of(held_out.target, threshold))
        self.undefined = {} if threshold is None else _undefined(np.asarray(self._targets), threshold)
        self._measure = programs.jit(partial(_measure, chosen))

    def measure(self, params: Params, hyper: Hyper, active: Bool[np.ndarray, "P"] | None = None) -> Measured:
        """Metrics of every member; see `Evaluator.measure`."""
        measured = self.ranking.measure(params, hyper, active)
        errors = self._measure(self._predict(params, hyper, active), self._targets)
        return measured._replace(overall=measured.overall | errors)


def _measure(
    chosen: tuple[Metric, ...], scores: Float[Array, "P R"], targets: Float[Array, "R"]
) -> dict[str, Float[Array, "P"]]:
    """Metrics of every member's predictions."""
    return map_members(lambda own: {metric.name: metric(own, targets) for metric in chosen})(scores)


def _undefined(labels: np.ndarray, threshold: float) -> dict[str, str]:
    """Metrics that are undefined for these labels, and the reason."""
    missing = [str(label) for label in (0, 1) if not (labels == label).any()]
    where = {"0": "below", "1": "at or above"}
    reasons = [
        f"no held-out row has label {label} (a value {where[label]} threshold={threshold:g})" for label in missing
    ]
    hint = "choose another threshold or split, or eval.monitor=log_loss"
    return {"auc": f"{' and '.join(reasons)}; {hint}"} if reasons else {}


@dataclass(frozen=True)
class Predictions(FullCatalog):
    """Settings of prediction metrics for every held-out row, in addition to full-catalog evaluation.

    Attributes:
        threshold: None: scores predict values, measured by mse, rmse and mae. A number: scores are logits of the label
            `value >= threshold`, measured by auc and log_loss
    """

    monitor: str = "rmse"
    threshold: float | None = None

    @property
    def measured(self) -> tuple[str, ...]:
        """Keys of all reported metrics."""
        return keys((*self.chosen, *self.predicted), self.k)

    @property
    def chosen(self) -> tuple[Metric, ...]:
        """The reported metrics of lists."""
        return tuple(metric for metric in self._all if metric.kind in CATALOG_KINDS)

    @property
    def predicted(self) -> tuple[Metric, ...]:
        """The reported metrics of predictions."""
        return tuple(metric for metric in self._all if metric.kind not in CATALOG_KINDS)

    @property
    def _all(self) -> tuple[Metric, ...]:
        kind, usual = (OF_VALUES, VALUES) if self.threshold is None else (OF_LABELS, LABELS)
        return metrics((*DEFAULT, *usual) if self.metrics is None else self.metrics, (*CATALOG_KINDS, kind))

    @property
    def ranking(self) -> FullCatalog:
        """The same settings without predictions."""
        names = tuple(metric.name for metric in self.chosen)
        monitor = f"{names[0]}@{self.k[0]}"
        return FullCatalog(self.k, monitor, self.block, self.exclude_known, names, category=self.category)

    def evaluator(self, model: Model, held_out: HeldOut, fallback: Fallback | None = None) -> PredictionEvaluator:
        """Build the evaluator; predictions are always the model's own, because popularity predicts no values."""
        ranking = super().evaluator(model, held_out, fallback)
        return PredictionEvaluator(ranking, model, held_out, self.predicted, self.threshold, self.block)
