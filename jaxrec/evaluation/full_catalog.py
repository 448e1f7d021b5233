"""Full-catalog evaluation: rank the whole catalog exactly and compare with held-out interactions."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from pydantic import PositiveInt

from jaxrec.blockwise import map_members
from jaxrec.data.interactions import Interactions
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation.categories import HistoryCategories, categories_of, has_categories, history_categories
from jaxrec.evaluation.evaluation import EvaluationSettings, Evaluator, Measured, invalidated
from jaxrec.evaluation.ground_truth import ground_truth
from jaxrec.evaluation.most_popular import PopularityRanker, most_popular
from jaxrec.fallback import Fallback
from jaxrec.hyper import Hyper
from jaxrec.metric_names import (
    CATALOG_KINDS,
    OF_ALL_LISTS,
    OF_CATEGORIES,
    OF_HITS,
    OF_ITEMS,
    OF_LIST,
    OF_POPULARITY,
    ON_TEST,
    RANKED,
    Kind,
    Metric,
    check_monitor,
    keys,
    metric,
    metrics,
)
from jaxrec.models.model import Model, Params
from jaxrec.models.popularity import Popularity
from jaxrec.ragged import Ragged
from jaxrec.ranking import QueryRows, Ranker

DEFAULT = (*RANKED, "coverage")


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
        category: str | None = None,
    ) -> None:
        self.model, self.k, self.n_items = model, tuple(sorted(k)), held_out.target.n_items
        self.metrics = chosen or metrics(DEFAULT, CATALOG_KINDS)
        self.ground_truth = ground_truth(held_out)
        queries = self.ground_truth.queries
        self.ranker: Ranker | PopularityRanker
        if isinstance(model, Popularity) and fallback is None:
            self.ranker = PopularityRanker(queries, self.k[-1], exclude_known=exclude_known)
        else:
            self.ranker = Ranker(
                model, queries, self.k[-1], block=block, exclude_known=exclude_known, fallback=fallback
            )
        kinds = {metric.kind for metric in self.metrics}
        known = held_out.known
        expected = most_popular(held_out, queries, self.k[-1], exclude_known) if OF_HITS in kinds else None
        self._known = _ListInputs(
            self.ground_truth.relevant,
            jnp.asarray(np.diff(self.ground_truth.offsets), jnp.int32),
            jnp.asarray(known.shares) if kinds & {OF_ITEMS, OF_POPULARITY} else None,
            jnp.asarray(mean_over_history(known.shares, queries)) if OF_POPULARITY in kinds else None,
            expected,
            history_categories(categories_of(known, category), queries) if OF_CATEGORIES in kinds else None,
        )

    def measure(self, params: Params, hyper: Hyper, active: Bool[np.ndarray, "P"] | None = None) -> Measured:
        """Metrics of every member; see `Evaluator.measure`."""
        ranked = self.ranker(params, hyper, active=active)
        per_user, overall = _measure(self._known, ranked.items, ranked.finite, self.k, self.n_items, self.metrics)
        return Measured(per_user, overall, ranked.items, ranked.finite)


def mean_over_history(values: np.ndarray, queries: QueryRows) -> np.ndarray:
    """Return the mean of a number of each item over the history of each row, float32 [R]; NaN without a history."""
    sums = np.concatenate([[0.0], np.cumsum(values[queries.known.items], dtype=np.float64)])
    n = queries.end - queries.start
    total = sums[queries.end] - sums[queries.start]
    return np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0).astype(np.float32)


class _ListInputs(NamedTuple):
    """Inputs of list metrics besides the lists; None for what no metric needs.

    Attributes:
        relevant: relevant items of each row, and their number
        n_relevant: their numbers
        shares: share of users who have each item
        own: mean share over the history of each row
        expected: the most popular items for each row
        categories: the categories of the items and of the history of each row
    """

    relevant: Ragged
    n_relevant: Int[Array, "R"]
    shares: Float[Array, "I"] | None
    own: Float[Array, "R"] | None
    expected: Int[Array, "R K"] | None
    categories: HistoryCategories | None

    def arrays(
        self, items: Int[Array, "R K"], hits: Bool[Array, "R K"], n_items: int, k: int
    ) -> dict[Kind, tuple[object, ...]]:
        """The arguments of the metrics of each kind, for lists of k items."""
        items, hits = items[:, :k], hits[:, :k]
        arrays: dict[Kind, tuple[object, ...]] = {OF_LIST: (hits, self.n_relevant), OF_ALL_LISTS: (items, n_items)}
        if self.shares is not None:
            arrays[OF_ITEMS] = items, self.shares
        if self.shares is not None and self.own is not None:
            arrays[OF_POPULARITY] = jnp.where(items < 0, jnp.nan, self.shares[items]), self.own
        if self.expected is not None:
            arrays[OF_HITS] = hits, jnp.any(items[:, :, None] == self.expected[:, None, :k], axis=2)
        if self.categories is not None:
            arrays[OF_CATEGORIES] = self.categories.of_lists(items), self.categories.shares
        return arrays


@partial(jax.jit, static_argnames=("ks", "n_items", "chosen"))
def _measure(
    known: _ListInputs,
    items: Int[Array, "P R K"],
    finite: Bool[Array, "P"],
    ks: tuple[int, ...],
    n_items: int,
    chosen: tuple[Metric, ...],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Metrics of lists, per user and overall; evaluators of the same shapes share the program for all models."""

    def of_member(items: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        hits = known.relevant.contains(jnp.arange(len(known.n_relevant)), items)
        parts: tuple[OrderedDict[str, Array], OrderedDict[str, Array]] = OrderedDict(), OrderedDict()
        for k in ks:
            arrays = known.arrays(items, hits, n_items, k)
            for kind in CATALOG_KINDS:
                own = [m for m in chosen if m.kind == kind]
                parts[kind == OF_ALL_LISTS].update((f"{m.name}@{k}", m(*arrays[kind])) for m in own)
        return parts

    per_user_values, overall = map_members(of_member)(items)
    return invalidated(per_user_values, finite), invalidated(overall, finite)


@dataclass(frozen=True)
class FullCatalog(EvaluationSettings):
    """Settings of full-catalog evaluation: the catalog is ranked for each user, or at each step of a session.

    Attributes:
        k: list lengths to report
        monitor: validation metric for early stopping and searches
        block: users per block on a device; None: chosen by catalog size. Does not affect results
        exclude_known: filter items the user already has (train; for the test also validation); never at session steps
        metrics: metrics to report: names in `jaxrec.metrics`, with parameters as in `rbp(p=0.8)`, or dotted paths of
            others
        test_metrics: further metrics to report on test, where they are measured once; those of categories by default
            only where the items have some
        users: evaluate this many random users of each part, always the same ones; None: all
        category: column of the item features for metrics of categories; None: the first with a usual name, e.g. genres
    """

    k: tuple[PositiveInt, ...] = (5, 10, 20)
    monitor: str = "ndcg@10"
    block: PositiveInt | None = None
    exclude_known: bool = True
    metrics: tuple[str, ...] | None = None  # None: those of conf/eval
    users: PositiveInt | None = None
    test_metrics: tuple[str, ...] = ON_TEST
    category: str | None = None

    def __post_init__(self) -> None:
        check_monitor(self.monitor, self.measured)
        metrics(DEFAULT, CATALOG_KINDS, self.test_metrics)

    def for_test(self, known: Interactions) -> "FullCatalog":
        """The settings for the test part, with the metrics that are measured there only."""
        further = self.test_metrics
        if further == ON_TEST and not has_categories(known, self.category):
            further = tuple(name for name in further if metric(name).kind != OF_CATEGORIES)
        return replace(self, metrics=(*(each.name for each in self._all), *further), test_metrics=())

    def check_data(self, known: Interactions) -> None:
        """Raise an InputError if a metric needs categories of items and the data has none."""
        chosen = *self._all, *(metric(name) for name in self.test_metrics if self.test_metrics != ON_TEST)
        if self.category is not None or any(each.kind == OF_CATEGORIES for each in chosen):
            categories_of(known, self.category)

    @property
    def measured(self) -> tuple[str, ...]:
        """Keys of all reported metrics."""
        return keys(self.chosen, self.k)

    @property
    def chosen(self) -> tuple[Metric, ...]:
        """The metrics of lists to report."""
        return self._all

    @property
    def _all(self) -> tuple[Metric, ...]:
        return metrics(DEFAULT if self.metrics is None else self.metrics, CATALOG_KINDS)

    @property
    def monitored(self) -> "FullCatalog":
        """The settings that measure the monitor, and NDCG because any evaluation has a metric of a user's list."""
        name, _, k = self.monitor.rpartition("@")
        return replace(self, k=(int(k),), metrics=tuple(dict.fromkeys((name, "ndcg"))), test_metrics=())

    def evaluator(self, model: Model, held_out: HeldOut, fallback: Fallback | None = None) -> Evaluator:
        """Build the evaluator of a model. Raises an InputError if k exceeds the catalog."""
        if max(self.k) > (n_items := held_out.target.n_items):
            raise InputError(
                f"eval.k={max(self.k)} exceeds the {n_items} items of the catalog: choose smaller eval.k, e.g. "
                f"eval.k=[{n_items}] eval.monitor=ndcg@{n_items}"
            )
        return CatalogEvaluator(
            model,
            held_out.sampled(self.users),
            k=self.k,
            block=self.block,
            exclude_known=self.exclude_known,
            fallback=fallback,
            chosen=self.chosen,
            category=self.category,
        )
