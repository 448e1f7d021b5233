"""Candidates → scoring → re-ranking, measured whole on the data of a run.

Whatever is chosen is chosen on validation: `curve` takes the selection and never the test split, which is read once,
for the setting that was chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from jaxrec import experiment
from jaxrec.data.histories import UserHistories, histories
from jaxrec.data.splits.split import HeldOut, Split
from jaxrec.errors import InputError
from jaxrec.evaluation.ground_truth import ground_truth
from jaxrec.metrics import mean_and_interval
from jaxrec.models.popularity import Popularity
from jaxrec.pipeline.item_facts import ItemFacts
from jaxrec.pipeline.list_measures import Measured, Measures, larger_is_better
from jaxrec.pipeline.retrieval import CandidateSet
from jaxrec.recommend.fitted import Fitted
from jaxrec.recommend.recommender import Recommender, load
from jaxrec.rerank.greedy import relevance
from jaxrec.rerank.shortlist import Mixes
from jaxrec.rerank.steps import Step
from jaxrec.rundir import read_config
from jaxrec.settings import Tree, check_registered, get

WEIGHT = "scoring.weight"  # the knob of the second stage


@dataclass(frozen=True)
class Scoring:
    """The second stage: another run's model scores the candidates; without a run the first one's scores stay.

    run:    a run directory, of the same data and split
    weight: of its scores, each brought between 0 and 1 among a user's candidates; the rest is the first model's
    """

    run: str | Path | None = None
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Run:
    """A run directory, opened: its settings, its model, and its data, split as it was."""

    directory: Path
    tree: Tree
    recommender: Recommender

    @classmethod
    def open(cls, directory: str | Path) -> "Run":
        """Raises InputError for a folder that holds no run."""
        directory = Path(directory)
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
        """What every user had in the data that the run knew."""
        return self.recommender.known

    @property
    def ids(self) -> tuple[np.ndarray, np.ndarray]:
        """The id tables of users and items."""
        return self.recommender.user_ids, self.recommender.item_ids

    def split(self) -> Split:
        """Its data, read again. Raises InputError where that is no longer what the run was trained on."""
        split, _ = experiment.prepare(self.tree)
        if split.test.order is not None:
            raise InputError(
                f"{self.directory}: its split asks at every step of a session, and a pipeline makes one list a user"
            )
        now = split.test.known
        if not _same((now.user_ids, now.item_ids), self.ids) or not _same_known(histories(now), self.known):
            raise InputError(f"{self.directory}: its data is not what it was when the run was trained; train it again")
        return split


@dataclass(frozen=True, eq=False)
class Stages:
    """A held part after the first stage, items and scores [R, C], and what measures lists of it.

    second:  the second model's scores of the same candidates; None where there is no such model
    said:    of candidates: the share of what is to be found that is among them, and what sources have to say
    """

    first: tuple[np.ndarray, np.ndarray]
    second: np.ndarray | None
    measures: Measures
    said: dict[str, float]

    def scored(self, weight: float) -> tuple[np.ndarray, np.ndarray]:
        """After the second stage: items and scores, best first; `weight` is the second model's, see `Scoring`."""
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
    """Two models and the steps between a query and a list.

    k: length of lists
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
                f"scoring.run={second.directory} was trained on other data, or on another split of it, than "
                f"run={run.directory}: what one was trained on, the other would be tested by"
            )

    def stages(self, held: HeldOut, split: Split) -> Stages:
        """The first two stages for those who have something to find in `held`."""
        found = ground_truth(held)
        asked, train = found.asked, split.selection.train
        facts = self.facts(held, train, self.run.recommender)
        if "freshness" in {step.metric for step in self.steps.values()} and np.isnan(facts.items.ages).all():
            raise InputError(
                "the age of no item is known: the data has no times; name a column of dates or years in items.born"
            )
        mixes = facts.items.mixes
        assert isinstance(mixes, Mixes)  # on the host
        own = facts.own(asked)
        if not mixes.shape[1] and any(type(step).__name__ in ("Calibration", "Cap") for step in self.steps.values()):
            raise InputError("calibration and caps need categories: name a column of item features in items.category")
        items, scores, said = self.candidates(self.run.fitted, asked, held.known, own, mixes, self.exclude_known)
        if items.shape[1] < self.k:
            raise InputError(f"k={self.k} is more than the {items.shape[1]} candidates of a user: raise candidates.n")
        hits = np.asarray(jax.jit(found.relevant.contains)(np.arange(len(items)), items))
        said = {"candidate recall": float(hits.sum() / len(found.items)), **said}
        popular = Fitted(Popularity(n_items=train.n_items), {"params": {"count": np.asarray(facts.items.counts)}})
        expected, _ = popular.rank(asked, self.k, self.exclude_known)
        second = None if self.second is None else self.second.fitted.score(asked, items)
        return Stages((items, scores), second, Measures(found, facts, expected, self.k), said)

    def measured(self, stages: Stages, knobs: Mapping[str, float]) -> dict[str, Measured]:
        """Lists after each stage, by its name; knobs (`mmr.strength`, `scoring.weight`) replace what is set."""
        done = {"first stage": stages.measures(*stages.first, {})}
        if self.second is not None:
            done["+ scoring"] = self.lists(stages, knobs, {})
        if self.steps:
            done["+ re-ranking"] = self.lists(stages, knobs, self.steps)
        return done

    def lists(self, stages: Stages, knobs: Mapping[str, float], steps: Mapping[str, Step]) -> Measured:
        """Lists after the second stage and these steps."""
        return stages.measures(*stages.scored(knobs.get(WEIGHT, self.weight)), steps, knobs)


def curve(pipeline: Pipeline, split: Split, knob: str, values: Sequence[float]) -> pd.DataFrame:
    """Every metric on validation at each value of a knob.

    The first row is without re-ranking; of the second model's weight, without that model.
    """
    validation = split.selection.validation
    assert validation is not None
    stages, steps = pipeline.stages(validation, split), pipeline.steps
    without = pipeline.lists(stages, {WEIGHT: 0.0}, steps) if knob == WEIGHT else pipeline.lists(stages, {}, {})
    base = {knob: np.nan, **without.means()}
    along = [pipeline.lists(stages, {knob: value}, steps).means() for value in values]
    return pd.DataFrame([base, *({knob: v, **means} for v, means in zip(values, along, strict=True))])


def chosen(table: pd.DataFrame, knob: str, metric: str, quality: str, keep: float) -> float:
    """The value of the knob that is best by `metric` among those that keep so large a share of the quality.

    Raises InputError if none does.
    """
    base, curve_ = table.iloc[0], table.iloc[1:]
    kept = curve_[curve_[quality] >= keep * base[quality]]
    if kept.empty:
        raise InputError(
            f"keep={keep:g}: no value of {knob} keeps that share of validation {quality} ({base[quality]:.4f} without "
            f"it, {curve_[quality].max():.4f} at best with it): ask for less, or for values nearer to none"
        )
    by_metric = kept[metric] if larger_is_better(metric) else -kept[metric]
    ties = kept[by_metric == by_metric.max()]
    return float(ties.loc[ties[quality].idxmax(), knob])


def stage_table(done: Mapping[str, Measured], quality: str) -> pd.DataFrame:
    """A row a stage: every metric, and the interval of the quality and of its difference to the first stage's.

    The rows of a user, such as the steps of a session, are drawn together.
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
