"""Full-catalog evaluation: rank the whole catalog exactly and compare with held-out interactions."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from pydantic import PositiveInt

from jaxrec.blockwise import each_member
from jaxrec.data.interactions import Interactions
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation.evaluation import Evaluator, Measured, invalidated
from jaxrec.evaluation.ground_truth import ground_truth
from jaxrec.fallback import Fallback
from jaxrec.hyper import Hyper
from jaxrec.metric_names import OF_ALL_LISTS, OF_ITEMS, OF_LIST, RANKED, Metric, check_monitor, keys, metrics, per_user
from jaxrec.models.model import Model, Params
from jaxrec.ragged import Ragged
from jaxrec.ranking import Ranker

DEFAULT, KINDS = (*RANKED, "coverage"), (OF_LIST, OF_ITEMS, OF_ALL_LISTS)


class CatalogEvaluator(Evaluator):
    """Ranks the catalog for every row of `ground_truth`, with known targets masked; see `Ranker`.

    Users whom the model cannot score are evaluated with the recommendations they would get, see `jaxrec.fallback`.
    """

    def __init__(
        self,
        model: Model,
        held_out: HeldOut,
        *,
        k: tuple[int, ...],
        block: int | None = None,
        exclude_known: bool = True,
        fallback: Fallback | None = None,
        chosen: tuple[Metric, ...] = (),
    ) -> None:
        self.model, self.k, self.n_items = model, tuple(sorted(k)), held_out.target.n_items
        self.metrics = chosen or metrics(DEFAULT, KINDS)
        self.ground_truth = ground_truth(held_out)
        self._relevant = self.ground_truth.relevant
        self._n_relevant = jnp.asarray(np.diff(self.ground_truth.offsets), jnp.int32)
        is_used = any(metric.kind == OF_ITEMS for metric in self.metrics)
        self._shares = jnp.asarray(shares(held_out.known)) if is_used else None
        self.ranker = Ranker(
            model, self.ground_truth.queries, self.k[-1], block=block, exclude_known=exclude_known, fallback=fallback
        )

    def measure(self, params: Params, hyper: Hyper, active: Bool[np.ndarray, "P"] | None = None) -> Measured:
        """Metrics of every member; see `Evaluator.measure`."""
        ranked = self.ranker(params, hyper, active=active)
        per_user, overall = _measure(
            self._relevant,
            self._n_relevant,
            self._shares,
            ranked.items,
            ranked.finite,
            self.k,
            self.n_items,
            self.metrics,
        )
        return Measured(per_user, overall, ranked.items, ranked.finite)


def shares(known: Interactions) -> np.ndarray:
    """Return the share of users who have each item, float32 [I]; an item without users counts as one user's."""
    pairs = np.unique(np.stack([known.item, known.user]), axis=1)
    n_users = max(1, len(np.unique(known.user)))
    return (np.maximum(np.bincount(pairs[0], minlength=known.n_items), 1) / n_users).astype(np.float32)


@partial(jax.jit, static_argnames=("ks", "n_items", "chosen"))
def _measure(
    relevant: Ragged,
    n_relevant: Int[Array, "R"],
    shares: Float[Array, "I"] | None,
    items: Int[Array, "P R K"],
    finite: Bool[Array, "P"],
    ks: tuple[int, ...],
    n_items: int,
    chosen: tuple[Metric, ...],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Metrics of lists, per user and overall; evaluators of the same shapes share the program for all models."""

    def of_member(items: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        hits = relevant.contains(jnp.arange(len(n_relevant)), items)
        of_all = [m for m in chosen if m.kind == OF_ALL_LISTS]
        of_items = [m for m in chosen if m.kind == OF_ITEMS]
        overall = OrderedDict((f"{m.name}@{k}", m(items[:, :k], n_items)) for k in ks for m in of_all)
        own = per_user(hits, n_relevant, ks, chosen)
        own.update((f"{m.name}@{k}", m(items[:, :k], shares)) for k in ks for m in of_items)
        return own, overall

    per_user_values, overall = each_member(of_member)(items)
    return invalidated(per_user_values, finite), invalidated(overall, finite)


@dataclass(frozen=True)
class FullCatalog:
    """Settings of full-catalog evaluation: the catalog is ranked for each user, or at each step of a session.

    Attributes:
        k: list lengths to report
        monitor: validation metric for early stopping and searches
        block: users per block on a device; None: chosen by catalog size. Does not affect results
        exclude_known: filter items the user already has (train; for the test also validation); never at session steps
        metrics: metrics to report: names in `jaxrec.metrics`, with parameters as in `rbp(p=0.8)`, or dotted paths of
            others
        users: evaluate this many random users of each part, always the same ones; None: all
    """

    k: tuple[PositiveInt, ...] = (5, 10, 20)
    monitor: str = "ndcg@10"
    block: PositiveInt | None = None
    exclude_known: bool = True
    metrics: tuple[str, ...] | None = None  # None: those of conf/eval
    users: PositiveInt | None = None

    def __post_init__(self) -> None:
        check_monitor(self.monitor, self.measured)

    @property
    def measured(self) -> tuple[str, ...]:
        """Keys of all reported metrics."""
        return keys(self.chosen, self.k)

    @property
    def chosen(self) -> tuple[Metric, ...]:
        """The metrics to report."""
        return metrics(DEFAULT if self.metrics is None else self.metrics, KINDS)

    @property
    def ranking(self) -> "FullCatalog":
        """The part that applies to any model: all of it."""
        return self

    def evaluator(self, model: Model, held_out: HeldOut, fallback: Fallback | None = None) -> Evaluator:
        """Build the evaluator of a model. Raises an InputError if k exceeds the catalog."""
        if max(self.k) > (n_items := held_out.target.n_items):
            raise InputError(f"eval.k={max(self.k)} exceeds the {n_items} items of the catalog: choose smaller eval.k")
        return CatalogEvaluator(
            model,
            held_out.sampled(self.users),
            k=self.k,
            block=self.block,
            exclude_known=self.exclude_known,
            fallback=fallback,
            chosen=self.chosen,
        )
