"""Re-ranking and evaluation of lists in one program: accuracy and beyond-accuracy metrics."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxrec import programs
from jaxrec.blockwise import in_blocks
from jaxrec.evaluation.ground_truth import GroundTruth
from jaxrec.metrics import calibration_error, hit_rate, inequality, ndcg, popularity_bias, recall, serendipity
from jaxrec.pipeline import list_metrics as lists
from jaxrec.pipeline.item_facts import Facts
from jaxrec.ragged import Ragged
from jaxrec.rerank.shortlist import RerankContext, Shortlist
from jaxrec.rerank.steps import Step

ROWS = 512  # maximum rows re-ranked at a time
ENTRIES = 1 << 25  # maximum entries of candidate vectors or category mixes at a time
SMALLER_IS_BETTER = {"gini", "popularity", "popularity_bias", "exposure_disparity", "calibration_error"}


@dataclass(frozen=True, eq=False)
class ListResults:
    """Metrics per row [R] by key, metrics over all lists, the lists [R, K], and their users [R]."""

    per_user: dict[str, np.ndarray]
    overall: dict[str, float]
    lists: np.ndarray
    users: np.ndarray

    def means(self) -> dict[str, float]:
        """Return the mean of every metric over rows where it is defined; NaN if there are none."""
        known = {key: values[~np.isnan(values)] for key, values in self.per_user.items()}
        means = {key: float(values.mean(dtype=np.float64)) if len(values) else np.nan for key, values in known.items()}
        return means | self.overall


class ListEvaluator:
    """Re-ranks and evaluates shortlists; one program for all values of a knob.

    Args:
        ground_truth: the rows and their relevant items.
        facts: item properties.
        expected: the k most popular items unseen by each row's user [R, k]; see `metrics.serendipity`.
        k: list length.
    """

    def __init__(self, ground_truth: GroundTruth, facts: Facts, expected: np.ndarray, k: int) -> None:
        self.facts, self.k, self.users, self.n_rows = (
            facts,
            k,
            ground_truth.queries.users,
            len(ground_truth.queries.users),
        )
        self._relevant = ground_truth.relevant
        self._own = facts.category_shares(ground_truth.queries)
        self._rows = {
            "n_relevant": np.diff(ground_truth.offsets).astype(np.int32),
            "expected": expected[:, :k].astype(np.int32),
            "mean_popularity": facts.mean_popularity(ground_truth.queries),
        }
        self._programs: dict[tuple[tuple[str, Step], ...], Callable] = {}

    def __call__(
        self, items: np.ndarray, scores: np.ndarray, steps: Mapping[str, Step], knobs: Mapping[str, float] | None = None
    ) -> ListResults:
        """Apply the steps and evaluate the lists; knobs (e.g. `mmr.strength`) override the steps' numbers."""
        named = tuple(steps.items())
        if named not in self._programs:
            self._programs[named] = programs.jit(partial(_block, named, self.k, self.facts.n_users))
        program, numbers = self._programs[named], dict(knobs or {})
        width = max(1, self.facts.items.mixes.shape[1], self.facts.items.vectors.shape[1])
        at_once = max(1, min(ROWS, self.n_rows, ENTRIES // (items.shape[1] * width)))

        def of_block(rows: np.ndarray) -> PyTree:
            block = {name: values[rows] for name, values in self._rows.items()} | {"own": self._own[rows].toarray()}
            return program(self.facts.items, self._relevant, rows, items[rows], scores[rows], block, numbers)

        per_user, exposed, recommended = in_blocks(of_block, self.n_rows, at_once)
        return ListResults(
            {f"{key}@{self.k}": values for key, values in per_user.items() if not np.isnan(values).all()},
            self._overall(exposed, recommended),
            recommended,
            self.users,
        )

    def hits(self, recommended: np.ndarray) -> np.ndarray:
        """Return whether each item of these lists [R, K] is relevant."""
        return np.asarray(programs.jit(Ragged.contains)(self._relevant, np.arange(self.n_rows), recommended))

    def _overall(self, exposed: np.ndarray, recommended: np.ndarray) -> dict[str, float]:
        n_items = len(self.facts.items.counts)
        counts = np.bincount(recommended[recommended >= 0], minlength=n_items)
        disparity = lists.exposure_disparity(jnp.asarray(exposed.sum(axis=0)), self.facts.items.target)
        return {
            f"coverage@{self.k}": float((counts > 0).mean()),
            f"gini@{self.k}": float(inequality(jnp.asarray(counts, jnp.float32))),
            f"exposure_disparity@{self.k}": float(disparity),
        }


def _block(
    named: tuple[tuple[str, Step], ...],
    k: int,
    n_users: int,
    items: PyTree,
    relevant: Ragged,
    rows: PyTree,
    *block: PyTree,
) -> PyTree:
    """Return metrics per row, the exposure of groups, and the lists of a block of rows after these steps."""
    candidates, scores, row, knobs = block
    listed = Shortlist(candidates, scores)
    context = RerankContext(items, row["own"], min(k, candidates.shape[1]))
    for name, step in named:
        own = {key.partition(".")[2]: value for key, value in knobs.items() if key.partition(".")[0] == name}
        listed = dataclasses.replace(step, **own)(listed, context)  # type: ignore[type-var]
    recommended = listed.items[:, :k]
    recommended = jnp.pad(recommended, ((0, 0), (0, k - recommended.shape[1])), constant_values=-1)
    return (*_measure(n_users, items, relevant, rows, recommended, row), recommended)


def _measure(n_users: int, items: PyTree, relevant: Ragged, rows: PyTree, recommended: PyTree, row: PyTree) -> PyTree:
    listed, n_relevant = recommended >= 0, row["n_relevant"]
    hits = relevant.contains(rows, recommended)
    expected = (recommended[:, :, None] == row["expected"][:, None, :]).any(axis=2)
    exposed = lists.exposure(items.groups[recommended], listed, len(items.target))
    per_user = {
        "ndcg": ndcg(hits, n_relevant),
        "recall": recall(hits, n_relevant),
        "hit_rate": hit_rate(hits, n_relevant),
        "diversity": lists.intra_list_diversity(items.vectors[recommended], listed),
        "novelty": lists.novelty(items.counts[recommended], n_users, listed),
        "serendipity": serendipity(hits, expected),
        "popularity": lists.popularity(items.counts[recommended], listed),
        "popularity_bias": popularity_bias(
            jnp.where(listed, items.counts[recommended], jnp.nan), row["mean_popularity"]
        ),
        "list_exposure_disparity": lists.exposure_disparity(exposed, items.target),
        "freshness": lists.mean_freshness(items.ages[recommended], listed, items.half_life),
    }
    if items.mixes.shape[1]:
        mix = lists.category_mix(items.mixes[recommended], listed)
        per_user["calibration_error"] = calibration_error(mix, row["own"])
    return per_user, exposed


def larger_is_better(key: str) -> bool:
    """Return whether larger values of a list metric are better."""
    return key.partition("@")[0].removeprefix("list_") not in SMALLER_IS_BETTER
