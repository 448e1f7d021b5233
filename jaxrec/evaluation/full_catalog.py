"""Exact full-catalog evaluation: ranking + held-out interactions → metrics of each row asked and in the mean."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from pydantic import PositiveInt

from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation.evaluation import Evaluation, Evaluator
from jaxrec.evaluation.ground_truth import ground_truth
from jaxrec.fallback import Fallback
from jaxrec.hyper import Hyper
from jaxrec.metric_names import OF_ALL_LISTS, OF_LIST, RANKED, Metric, check_monitor, keys, metrics, per_user
from jaxrec.models.model import Model, Params
from jaxrec.ragged import Ragged
from jaxrec.ranking import Ranker

DEFAULT, KINDS = (*RANKED, "coverage"), (OF_LIST, OF_ALL_LISTS)


class CatalogEvaluator(Evaluator):
    """Ranks the catalog for every row that `ground_truth` makes, with the targets that are known masked; see `Ranker`.

    Users the model knows nothing of get what they are served, see `jaxrec.fallback`.
    """

    def __init__(
        self,
        model: Model,
        held: HeldOut,
        *,
        k: tuple[int, ...],
        block: int | None = None,
        exclude_known: bool = True,
        fallback: Fallback | None = None,
        chosen: tuple[Metric, ...] = (),
    ) -> None:
        self.model, self.k, self.n_items = model, tuple(sorted(k)), held.target.n_items
        self.metrics = chosen or metrics(DEFAULT, KINDS)
        self.ground_truth = ground_truth(held)
        self._relevant = self.ground_truth.relevant
        self._n_relevant = jnp.asarray(np.diff(self.ground_truth.offsets), jnp.int32)
        self.ranker = Ranker(
            model, self.ground_truth.asked, self.k[-1], block=block, exclude_known=exclude_known, fallback=fallback
        )

    def __call__(self, params: Params, hyper: Hyper) -> Evaluation:
        """Parameters and numbers with a leading member axis → metrics of every member; NaN for a diverged one."""
        ranked = self.ranker(params, hyper)
        by_metric, overall = _measure(
            self._relevant, self._n_relevant, ranked.items, self.k, self.n_items, self.metrics
        )
        valid = np.where(ranked.finite, 1.0, np.nan).astype(np.float32)
        return Evaluation(
            self.ground_truth,
            {key: np.asarray(values) * valid[:, None] for key, values in by_metric.items()},
            {key: np.asarray(values) * valid for key, values in overall.items()},
            ranked.items,
            np.asarray(ranked.finite),
        )


@partial(jax.jit, static_argnames=("ks", "n_items", "chosen"))
def _measure(
    relevant: Ragged,
    n_relevant: Int[Array, "R"],
    items: Int[Array, "P R K"],
    ks: tuple[int, ...],
    n_items: int,
    chosen: tuple[Metric, ...],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Metrics of lists, by user and overall; evaluators of the same shapes share the program, whatever the model."""

    def of_member(items: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        hits = relevant.contains(jnp.arange(len(n_relevant)), items)
        of_all = [m for m in chosen if m.kind == OF_ALL_LISTS]
        overall = OrderedDict((f"{m.name}@{k}", m(items[:, :k], n_items)) for k in ks for m in of_all)
        return per_user(hits, n_relevant, ks, chosen), overall

    return jax.vmap(of_member)(items)


@dataclass(frozen=True)
class FullCatalog:
    """How a fitted model is measured: the whole catalog ranked for each user, or at each step of a session.

    k:       list lengths to report
    metrics: what to report: names of `jaxrec.metrics`, with parameters such as `rbp(p=0.8)`, and dotted paths of others
    monitor: the validation metric that early stopping and searches look at
    block:   users ranked at a time on a device; null chooses by the catalog's size. No number depends on it
    exclude_known: leave out what a user already has (train, and validation when testing); never at steps of a session
    """

    k: tuple[PositiveInt, ...] = (5, 10, 20)
    monitor: str = "ndcg@10"
    block: PositiveInt | None = None
    exclude_known: bool = True
    metrics: tuple[str, ...] | None = None  # None: those of conf/eval

    def __post_init__(self) -> None:
        check_monitor(self.monitor, self.measured)

    @property
    def measured(self) -> tuple[str, ...]:
        """Keys of all metrics."""
        return keys(self.chosen, self.k)

    @property
    def chosen(self) -> tuple[Metric, ...]:
        """The metrics of these names."""
        return metrics(DEFAULT if self.metrics is None else self.metrics, KINDS)

    @property
    def ranking(self) -> "FullCatalog":
        """What of this any model can be measured by."""
        return self

    def evaluator(self, model: Model, held: HeldOut, fallback: Fallback | None = None) -> Evaluator:
        """For a model of this catalog; k beyond the catalog is refused."""
        if max(self.k) > (n_items := held.target.n_items):
            raise InputError(f"eval.k={max(self.k)} is more than the {n_items} items of the catalog")
        return CatalogEvaluator(
            model,
            held,
            k=self.k,
            block=self.block,
            exclude_known=self.exclude_known,
            fallback=fallback,
            chosen=self.chosen,
        )
