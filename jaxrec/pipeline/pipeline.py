"""Candidate generation, scoring and re-ranking, evaluated end to end on the data of a run.

All choices are made on validation data: `curve` never reads the test split, which is evaluated once, for the chosen
setting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from jaxrec import experiment, programs
from jaxrec.bootstrap import mean_and_interval
from jaxrec.data.histories import UserHistories
from jaxrec.data.splits.assembly import HeldOut, Split
from jaxrec.errors import InputError
from jaxrec.evaluation.ground_truth import ground_truth
from jaxrec.finished import finished_run
from jaxrec.hyper import Share
from jaxrec.models.popularity import Popularity
from jaxrec.pipeline.item_facts import ItemFacts
from jaxrec.pipeline.list_evaluator import ListEvaluator, ListResults, larger_is_better
from jaxrec.pipeline.retrieval import CandidateSet
from jaxrec.ragged import Ragged
from jaxrec.recommend.fitted import Fitted
from jaxrec.recommend.recommender import Recommender, load
from jaxrec.rerank.greedy import relevance
from jaxrec.rerank.shortlist import Mixes
from jaxrec.rerank.steps import Step
from jaxrec.rundir import read_config
from jaxrec.settings import Tree, check_registered, get

WEIGHT = "scoring.weight"  # knob of the second stage


@dataclass(frozen=True)
class Scoring:
    """Second stage: another run's model scores the candidates.

    Args:
        run: a run directory with the same data and split; None: keep the first model's scores.
        weight: weight of the second model's scores; 1 - weight is that of the first model. Scores are scaled to [0, 1]
            among a user's candidates.
    """

    run: str | Path | None = None
    weight: Share = 1.0


@dataclass(frozen=True, eq=False)
class Run:
    """Loaded run directory: settings, model, and the data with its split."""

    directory: Path
    tree: Tree
    recommender: Recommender

    @classmethod
    def open(cls, directory: str | Path) -> "Run":
        """Load a run directory; raise InputError if it holds no run."""
        directory = finished_run(Path(directory))
        recommender = load(directory)
        file = directory / "config.yaml"
        tree = read_config(directory)
        check_registered(tree, file)
        return cls(directory, tree, recommender)

    @property
    def fitted(self) -> Fitted:
        """The model with its parameters."""
        return self.recommender.fitted

    @property
    def known(self) -> UserHistories:
        """Histories of all users in the data of the run."""
        return self.recommender.known

    @property
    def ids(self) -> tuple[np.ndarray, np.ndarray]:
        """The id tables of users and items."""
        return self.recommender.user_ids, self.recommender.item_ids

    def split(self) -> Split:
        """Read the data again; raise InputError if it differs from the run's training data."""
        split, _ = experiment.prepare(self.tree)
        if split.test.order is not None:
            raise InputError(
                f"{self.directory}: session splits are not supported, because a pipeline makes one list per user"
            )
        now = split.test.known
        if not _same((now.user_ids, now.item_ids), self.ids) or not _same_known(now.histories, self.known):
            raise InputError(f"{self.directory}: the data has changed since the run was trained; train it again")
        return split


@dataclass(frozen=True, eq=False)
class Stages:
    """Held-out part after the first stage.

    Attributes:
        first: items and scores of the candidates [R, C].
        second: the second model's scores of the same candidates; None without a second model.
        evaluator: evaluates lists.
        candidate_statistics: statistics of the candidates by name, e.g. their recall.
    """

    first: tuple[np.ndarray, np.ndarray]
    second: np.ndarray | None
    evaluator: ListEvaluator
    candidate_statistics: dict[str, float]

    def scored(self, weight: float) -> tuple[np.ndarray, np.ndarray]:
        """Return items and scores after the second stage, best first; `weight` is that of `Scoring`."""
        items, scores = self.first
        if self.second is None or weight == 0:
            return items, scores
        mixed = self.second
        if weight < 1:
            one, other = (np.asarray(jax.jit(relevance)(x)) for x in (scores, self.second))
            mixed = weight * other + (1 - weight) * one
        order = np.argsort(-mixed, axis=1, kind="stable")
        return np.take_along_axis(items, order, 1), np.take_along_axis(mixed, order, 1)


class Pipeline:
    """Multi-stage recommender: candidates, an optional second model, and re-ranking steps.

    Args:
        run: the first model and the data.
        second: the second model; None: no second stage.
        candidates: candidate sources.
        weight: weight of the second model, see `Scoring`.
        steps: re-ranking steps by name.
        facts: sources of item properties.
        k: list length.
    """

    def __init__(
        self,
        run: Run,
        second: Run | None,
        *,
        candidates: CandidateSet,
        weight: float,
        steps: Mapping[str, Step],
        facts: ItemFacts,
        k: int,
    ) -> None:
        self.run, self.second, self.candidates, self.weight = run, second, candidates, weight
        self.steps, self.facts, self.k = steps, facts, k
        self.exclude_known = bool(get(run.tree, "eval.exclude_known", True))
        if second is not None and not (_same(run.ids, second.ids) and _same_known(run.known, second.known)):
            raise InputError(
                f"scoring.run={second.directory} was trained on other data or another split than "
                f"run={run.directory}: its training data may contain test data; train it on the same split"
            )

    def stages(self, held: HeldOut, split: Split) -> Stages:
        """Run the first two stages for users with relevant items in `held`."""
        truth = ground_truth(held)
        query_rows, train = truth.queries, split.selection.train
        facts = self.facts(held, train, self.run.recommender)
        if "freshness" in {step.metric for step in self.steps.values()} and np.isnan(facts.items.ages).all():
            raise InputError(
                "item ages are unknown, because the data has no times: set items.born to a column of dates or years"
            )
        mixes = facts.items.mixes
        assert isinstance(mixes, Mixes)  # on the host
        own = facts.category_shares(query_rows)
        if not mixes.shape[1] and any(type(step).__name__ in ("Calibration", "Cap") for step in self.steps.values()):
            raise InputError(
                "calibration and cap need item categories: set items.category to a column of item features"
            )
        items, scores, statistics = self.candidates(
            self.run.fitted, query_rows, held.known, own, mixes, self.exclude_known
        )
        if items.shape[1] < self.k:
            raise InputError(f"k={self.k} exceeds the {items.shape[1]} candidates per user: increase candidates.n")
        hits = np.asarray(programs.jit(Ragged.contains)(truth.relevant, np.arange(len(items)), items))
        statistics = {"candidate recall": float(hits.sum() / len(truth.items)), **statistics}
        popular = Fitted(Popularity(n_items=train.n_items), {"params": {"count": np.asarray(facts.items.counts)}})
        expected, _ = popular.rank(query_rows, self.k, self.exclude_known)
        second = None if self.second is None else self.second.fitted.score(query_rows, items)
        return Stages((items, scores), second, ListEvaluator(truth, facts, expected, self.k), statistics)

    def evaluate(self, stages: Stages, knobs: Mapping[str, float]) -> dict[str, ListResults]:
        """Evaluate the lists after each stage, by stage name; knobs (e.g. `mmr.strength`) override settings."""
        done = {"first stage": stages.evaluator(*stages.first, {})}
        if self.second is not None:
            done["+ scoring"] = self.lists(stages, knobs, {})
        if self.steps:
            done["+ re-ranking"] = self.lists(stages, knobs, self.steps)
        return done

    def lists(self, stages: Stages, knobs: Mapping[str, float], steps: Mapping[str, Step]) -> ListResults:
        """Evaluate the lists after the second stage and these steps."""
        return stages.evaluator(*stages.scored(knobs.get(WEIGHT, self.weight)), steps, knobs)


def curve(pipeline: Pipeline, split: Split, knob: str, values: Sequence[float]) -> pd.DataFrame:
    """Return every validation metric at each value of a knob.

    The first row is the baseline: without re-ranking, or for `scoring.weight` without the second model.
    """
    validation = split.selection.validation
    assert validation is not None
    stages, steps = pipeline.stages(validation, split), pipeline.steps
    without = pipeline.lists(stages, {WEIGHT: 0.0}, steps) if knob == WEIGHT else pipeline.lists(stages, {}, {})
    base = {knob: np.nan, **without.means()}
    along = [pipeline.lists(stages, {knob: value}, steps).means() for value in values]
    return pd.DataFrame([base, *({knob: v, **means} for v, means in zip(values, along, strict=True))])


def choose_value(table: pd.DataFrame, knob: str, metric: str, quality: str, keep: float) -> float:
    """Return the knob value with the best `metric` among those that keep a share of the quality.

    Args:
        table: the result of `curve`.
        knob: name of the varied number.
        metric: the metric to optimize.
        quality: the metric to preserve.
        keep: minimum share of the baseline quality.

    Raises:
        InputError: no value keeps that share.
    """
    base, curve_ = table.iloc[0], table.iloc[1:]
    kept = curve_[curve_[quality] >= keep * base[quality]]
    if kept.empty:
        raise InputError(
            f"keep={keep:g}: no value of {knob} keeps that share of validation {quality} (baseline "
            f"{base[quality]:.4f}, best value {curve_[quality].max():.4f}): lower keep, or set smaller values"
        )
    by_metric = kept[metric] if larger_is_better(metric) else -kept[metric]
    ties = kept[by_metric == by_metric.max()]
    return float(ties.loc[ties[quality].idxmax(), knob])


def stage_table(done: Mapping[str, ListResults], quality: str) -> pd.DataFrame:
    """Return one row per stage: every metric, and intervals of the quality and of its difference from the first stage.

    The bootstrap resamples users, so the rows of a user stay together.
    """
    first = done["first stage"].per_user[quality]
    rows = []
    for name, measured in done.items():
        values = measured.per_user[quality]
        _, low, high = mean_and_interval(values, units=measured.users)
        gain, gain_low, gain_high = mean_and_interval(values - first, units=measured.users)
        interval = {f"{quality} low": low, f"{quality} high": high}
        difference = {"difference": gain, "difference low": gain_low, "difference high": gain_high}
        rows.append({"stage": name, **measured.means(), **interval, **difference})
    return pd.DataFrame(rows)


def _same(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    return all(a.shape == b.shape and bool((a == b).all()) for a, b in zip(one, other, strict=True))


def _same_known(one: UserHistories, other: UserHistories) -> bool:
    return _same((np.asarray(one.offsets), np.asarray(one.items)), (np.asarray(other.offsets), np.asarray(other.items)))
