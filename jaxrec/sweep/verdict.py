"""Sanity checks of a search's winner: ties, popularity baseline, edges of the space, too few epochs."""

import math
from collections.abc import Mapping

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from jaxrec.sweep.objectives import value_of, violated
from jaxrec.sweep.outcome import STOPPED
from jaxrec.sweep.space import Choice, Dimension
from jaxrec.sweep.trials import best

NEAR = 0.02  # fraction of an interval (of its logarithm, if log) that counts as its edge


def verdict(
    study: Study,
    space: Mapping[str, Dimension],
    popularity: Mapping[str, float],
    epochs: int | None,
    winner: FrozenTrial | None = None,
) -> list[str]:
    """Return one sentence per reason to doubt the best trial.

    Args:
        study: the study with its finished trials.
        space: the search space.
        popularity: validation metrics of the popularity baseline.
        epochs: maximum number of epochs of the winner; None for a model without epochs.
        winner: the best trial; None: the one with the best value.
    """
    values = [value_of(trial) for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    metric = str(study.user_attrs.get("metric", "value"))
    winner, notes = winner or best(study), []
    value = value_of(winner)
    assert value is not None
    if broken := violated(winner):
        notes.append(f"no trial satisfies all constraints: the best trial violates {' and '.join(broken)}")
    tied = len(values) > 1 and len(set(values)) == 1
    if tied:
        notes.append(f"all {len(values)} trials have the same {metric}, {value:.4g}: the space does not affect it")
    popular = popularity.get(metric.removeprefix("validation "))
    if popular is not None and math.isfinite(popular):
        sign = 1 if study.directions[0] == StudyDirection.MAXIMIZE else -1
        if sign * value < sign * popular:
            notes.append(
                f"the best trial is below the popularity baseline: {metric} {value:.4g} vs {popular:.4g}; "
                "change the model, the loss or the space"
            )
    if not tied:
        notes += [
            f"the best {key}, {winner.params[key]:.4g}, is at the {end} bound of the space: extend that bound"
            for key, dimension in space.items()
            if key in winner.params and (end := edge(dimension, winner.params[key]))
        ]
    if STOPPED in winner.user_attrs:
        stopped, n = winner.user_attrs[STOPPED], winner.user_attrs["epochs"]
        notes.append(f"the best trial was stopped by the {stopped} after epoch {n}: it may gain by more of them")
    elif epochs is not None and winner.user_attrs.get("best_epoch") == epochs:
        notes.append(f"the best trial peaked in its last epoch ({epochs}): increase trainer.epochs")
    return notes


def edge(dimension: Dimension, value: object) -> str:
    """Return `lower` or `upper` if a number is at that bound of its dimension, else an empty string."""
    if isinstance(dimension, Choice):
        numbers = [c for c in dimension.choices if isinstance(c, int | float) and not isinstance(c, bool)]
        if len(numbers) < len(dimension.choices) or len(numbers) < 3 or not isinstance(value, int | float):
            return ""
        return {min(numbers): "lower", max(numbers): "upper"}.get(value, "")
    low, high = dimension.low, dimension.high if dimension.step is None else dimension.points()[-1]
    if not isinstance(value, int | float) or low == high or (dimension.integer and high - low < 2):
        return ""
    scale = math.log if dimension.log else float
    place = (scale(value) - scale(low)) / (scale(high) - scale(low))
    if dimension.integer or dimension.step is not None:  # few values: only the bound itself
        return "lower" if value <= low else "upper" if value >= high else ""
    return "lower" if place <= NEAR else "upper" if place >= 1 - NEAR else ""
