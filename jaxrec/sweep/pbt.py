"""Population-based training: members copy better ones while they train, and try other settings.   [Jaderberg 2017]

At every interval, the worst quarter of the members copies the training state of random members of the best quarter
and changes its settings. Random numbers depend on seed, epoch and member only, so a population that is trained again
takes the same decisions.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, TypedDict

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from jaxrec.sweep.space import Choice, Dimension, Interval, Value, Values, space_from_yaml

SHARE = 4  # one part in this many is replaced, and as many may be copied
FACTORS = (0.8, 1.2)
RESAMPLE = 0.25  # probability of a value from anywhere in the dimension
LINEAGE = "lineage"  # attribute of a trial: a list of `Copied`


class Copied(TypedDict):
    """A member became a copy of another after an epoch, with these parameters from then on."""

    epoch: int
    parent: int
    params: Values


class Segment(NamedTuple):
    """Part of an ancestry: the epochs from `from_epoch` on, trained by a trial with these parameters."""

    from_epoch: int
    trial: int
    params: Values


def exploit(scores: Mapping[int, float], seed: int, epoch: int) -> dict[int, int]:
    """Return which member each replaced one copies: the worst quarter, and all without a finite score.

    Args:
        scores: latest validation of each member; larger is better.
        seed: seed of the search.
        epoch: number of epochs trained.
    """
    ranked = sorted(scores, key=lambda member: (-_finite(scores[member]), member))
    n = max(1, len(ranked) // SHARE)
    best = [member for member in ranked[:n] if math.isfinite(scores[member])]
    replaced = [m for m in ranked if m not in best and (m in ranked[-n:] or not math.isfinite(scores[m]))]
    if not best:
        return {}
    return {m: best[np.random.default_rng([seed, epoch, m, 0]).integers(len(best))] for m in sorted(replaced)}


def explore(
    params: Values,
    space: Mapping[str, Dimension],
    seed: tuple[int, int, int],
    fits: Callable[[Values], bool] = lambda params: True,
) -> Values:
    """Return changed parameters, within the bounds of the space.

    Args:
        params: parameters of the copied member.
        space: the search space; dimensions on which others depend stay as they are.
        seed: seed of the search, epoch and member.
        fits: whether parameters can be trained by the program of the member; others are not chosen.
    """
    rng = np.random.default_rng([*seed, 1])
    fixed = {other for dimension in space.values() for other in dimension.when or {}}
    changed = dict(params)
    for key, dimension in space.items():
        if key not in params or key in fixed:
            continue
        value = (
            _drawn(dimension, rng) if rng.random() < RESAMPLE else _moved(dimension, params[key], rng.random() < 0.5)
        )
        if value != params[key] and fits(changed | {key: value}):
            changed[key] = value
    return changed


def params_at(initial: Values, lineage: list[Copied], epoch: int) -> Values:
    """Return the parameters with which a member trained an epoch, counted from 1."""
    return next((copied["params"] for copied in reversed(lineage) if copied["epoch"] < epoch), initial)


def ancestry(
    initial: Mapping[int, Values], lineages: Mapping[int, list[Copied]], member: int, epoch: int
) -> list[Segment]:
    """Return which members trained the state that a member had after an epoch, first epochs first.

    Args:
        initial: parameters at the start, by member.
        lineages: copies by member, in order of epochs.
        member: the member.
        epoch: the epoch, counted from 1.
    """
    segments: list[Segment] = []
    while copied := next((c for c in reversed(lineages[member]) if c["epoch"] < epoch), None):
        segments.append(Segment(copied["epoch"] + 1, member, copied["params"]))
        member, epoch = copied["parent"], copied["epoch"]
    return [Segment(1, member, initial[member]), *reversed(segments)]


def ancestry_of(study: Study, trial: FrozenTrial) -> list[Segment]:
    """Return the ancestry of a trial's best epoch."""
    trials = [t for t in study.get_trials(deepcopy=False) if LINEAGE in t.user_attrs]
    lineages = {t.number: t.user_attrs[LINEAGE] for t in trials}
    return ancestry({t.number: t.params for t in trials}, lineages, trial.number, trial.user_attrs["best_epoch"])


def schedule(segments: Sequence[Segment], epochs: int, extremes: Mapping[str, list[Value]], slots: int) -> Values:
    """Return the content of a schedule file, see `jaxrec.settings.schedule`, that trains an ancestry from scratch.

    Choices of config groups, e.g. `model`, are not part of it.
    """
    steps = [
        {"from_epoch": s.from_epoch, "overrides": {k: v for k, v in s.params.items() if is_number(k)}} for s in segments
    ]
    space = {key: list(values) for key, values in extremes.items() if is_number(key) and key in segments[0].params}
    return {"epochs": epochs, "space": space, "slots": slots, "steps": steps}


def schedule_of(study: Study, trial: FrozenTrial) -> Values:
    """Return the schedule that trains a trial up to its best epoch."""
    space = space_from_yaml(study.user_attrs["space"])
    extremes = {key: dimension.extremes() for key, dimension in space.items()}
    slots = study.user_attrs["fixed"]["sweep.population"]
    return schedule(ancestry_of(study, trial), trial.user_attrs["best_epoch"], extremes, slots)


def is_number(key: str) -> bool:
    """Return whether a dimension is a setting within a config group, not the choice of a group."""
    return "." in key


def _finite(score: float) -> float:
    return score if math.isfinite(score) else -math.inf


def _drawn(dimension: Dimension, rng: np.random.Generator) -> Value:
    """Return a random value of a dimension."""
    if isinstance(dimension, Choice):
        return dimension.choices[rng.integers(len(dimension.choices))]
    if dimension.log:
        value = math.exp(rng.uniform(math.log(dimension.low), math.log(dimension.high)))
    else:
        value = rng.uniform(dimension.low, dimension.high)
    return _nearest(dimension, value)


def _moved(dimension: Dimension, value: Value, up: bool) -> Value:
    """Return a value nearby: a neighboring choice, or a number times one of `FACTORS`, by at least one step."""
    if isinstance(dimension, Choice):
        numbers = all(isinstance(c, int | float) and not isinstance(c, bool) for c in dimension.choices)
        choices = sorted(dimension.choices) if numbers else list(dimension.choices)
        return choices[min(max(choices.index(value) + (1 if up else -1), 0), len(choices) - 1)]
    target = value * FACTORS[up]
    if step := dimension.step or (1 if dimension.integer else None):
        target = max(target, value + step) if up else min(target, value - step)
    return _nearest(dimension, target)


def _nearest(dimension: Interval, value: float) -> float | int:
    """Return the nearest value of a dimension."""
    value = min(max(float(value), dimension.low), dimension.high)
    if (step := dimension.step or (1 if dimension.integer else None)) is None:
        return value
    low, high, step = (Decimal(str(number)) for number in (dimension.low, dimension.high, step))
    place = min(round((Decimal(str(value)) - low) / step), int((high - low) // step))
    return (int if dimension.integer else float)(low + place * step)
