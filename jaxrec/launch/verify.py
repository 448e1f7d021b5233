"""Verification of a run or a trial: it is trained again from its stored settings, and its metrics are compared.

The same program on the same machine gives the same numbers to the last bit. Other shapes, such as a member that was
trained in a population of another size, sum in another order: `TOLERANCE` is promised then.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from optuna.study import Study

from jaxrec import experiment, settings
from jaxrec.atomic_files import read_json
from jaxrec.command_line import override
from jaxrec.console import say, table
from jaxrec.errors import InputError
from jaxrec.finished import finished_run
from jaxrec.launch.single import select
from jaxrec.machine import use_all_cores
from jaxrec.rundir import read_config
from jaxrec.settings import Tree, check_registered, tuples
from jaxrec.sweep.pbt import LINEAGE
from jaxrec.sweep.space import space_from_yaml
from jaxrec.sweep.study import fixed_overrides, trial_of
from jaxrec.sweep.trials import epochs_to_repeat, params_of

TOLERANCE = 1e-5  # absolute, of metrics; relative above 1


@dataclass(frozen=True)
class Verification:
    """Stored metrics and those of the repetition.

    Attributes:
        name: what was verified.
        metrics: columns metric, stored, repeated, difference.
    """

    name: str
    metrics: pd.DataFrame

    @property
    def is_equal(self) -> bool:
        """Whether all metrics agree within `TOLERANCE`."""
        size = self.metrics["stored"].abs().clip(lower=1).fillna(1)
        return bool((self.metrics["difference"] <= TOLERANCE * size).all())

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        n, largest = len(self.metrics), self.metrics["difference"].max()
        if self.is_equal and largest == 0:
            return f"equal: all {n} metrics of {self.name} are the same"
        if self.is_equal:
            return f"equal within {TOLERANCE:g}: the {n} metrics of {self.name} differ by at most {largest:.2g}"
        return f"different: metrics of {self.name} differ by up to {largest:.2g}"


def compare_metrics(name: str, stored: Tree, repeated: Tree) -> Verification:
    """Compare metrics by name; a missing or undefined one differs from any number by infinity."""
    rows = []
    for key in dict.fromkeys([*stored, *repeated]):
        one, other = (math.nan if value is None else float(value) for value in (stored.get(key), repeated.get(key)))
        both_missing = math.isnan(one) and math.isnan(other)
        difference = 0.0 if both_missing or one == other else abs(one - other)
        rows.append((key, one, other, math.inf if math.isnan(difference) else difference))
    return Verification(name, pd.DataFrame(rows, columns=["metric", "stored", "repeated", "difference"]))


def verify_run(directory: Path) -> Verification:
    """Train a run again and compare validation and test metrics.

    Raises:
        InputError: the run is not finished, was interrupted, or its settings cannot be used.
    """
    directory = finished_run(directory)
    metrics, tree = read_json(directory / "metrics.json"), _settings(directory)
    if not isinstance(metrics, dict) or not {"validation", "test"} <= metrics.keys():
        raise InputError(f"{directory / 'metrics.json'} has no validation and test metrics: train the run again")
    if metrics.get("interrupted"):
        raise InputError(f"{directory} was interrupted, so it cannot be repeated; to continue it: resume={directory}")
    use_all_cores()
    split, load_s = experiment.prepare(tree)
    _, shared, population = settings.program_of(tree, _extremes(settings.get(tree, "sweep.space")))
    (result,) = experiment.finish(shared, split, select(shared, split, population), load_s)
    _note_changes(metrics, result.metrics)
    stored, repeated = (
        {f"{part} {key}": value for part in ("validation", "test") for key, value in (each[part] or {}).items()}
        for each in (metrics, result.metrics)
    )
    return compare_metrics(str(directory), stored, repeated)


def verify_trial(study: Study, number: int, compose: Callable[[Sequence[str]], Tree]) -> Verification:
    """Train a trial again, in the program of its search, and compare validation metrics.

    Args:
        study: the study.
        number: number of the trial.
        compose: composes the configuration of overrides.

    Raises:
        InputError: there is no such trial, it has no value, or its settings changed while it trained.
    """
    trial, name = trial_of(study, number), f"trial {number} of {study.study_name}"
    if trial.values is None and "best_epoch" not in trial.user_attrs:
        raise InputError(f"{name} has no validation metrics: its state is {trial.state.name.lower()}")
    if LINEAGE in trial.user_attrs:
        raise InputError(f"the settings of {name} changed while it trained: verify the run in best/ instead")
    params = params_of(trial)
    typed = fixed_overrides(study, params)
    if wrong := [text for text in typed if text.lstrip("+~").startswith("hydra")]:
        raise InputError(f"study {study.study_name} has the override {wrong[0]}, so it is not repeated")
    tree = compose([*typed, *(override(key, value) for key, value in params.items())])
    check_registered(tree, Path(f"study {study.study_name}"))
    settings.check(tree)
    if epochs := epochs_to_repeat(trial, settings.get(tree, "trainer.validate_every", 1)):  # it may have ended early
        tree = settings.put(tree, {"trainer.epochs": epochs, "trainer.patience": None})
    use_all_cores()
    split, _ = experiment.prepare(tree)
    _, shared, population = settings.program_of(tree, _extremes(study.user_attrs.get("space")))
    selected = select(shared, split, population)
    repeated = selected.validation[0]
    if reason := experiment.failure(selected, 0):
        raise InputError(f"{name}: {reason}")
    stored = {key: trial.user_attrs.get(key) for key in repeated}
    return compare_metrics(name, stored, repeated)


def show(found: Verification) -> None:
    """Print a verification: one sentence, and the metrics if they differ."""
    if not found.is_equal:
        frame = found.metrics[found.metrics["difference"] > 0]
        table("metrics", frame)
    say(found.sentence)


def _settings(directory: Path) -> Tree:
    tree = {key: tuples(value) for key, value in read_config(directory).items()}
    check_registered(tree, directory / "config.yaml")
    settings.check(tree)
    return tree


def _extremes(space: Mapping[str, object] | None) -> dict[str, list[object]]:
    """Return bounds or choices of the search in which a run was trained, which determine its program."""
    return {key: dimension.extremes() for key, dimension in space_from_yaml(space).items()} if space else {}


def _note_changes(stored: Tree, present: Tree) -> None:
    """Say whether data or environment are others than those of the stored metrics."""
    data = stored.get("data") or {}
    if data.get("fingerprint", present["data"]["fingerprint"]) != present["data"]["fingerprint"]:
        say("note: the data has changed since the run was trained")
    keys = ("jax", "jaxlib", "backend", "device", "machine", "devices")
    before, now = stored.get("environment") or {}, present["environment"]
    changed = [f"{key} {before.get(key)} → {now.get(key)}" for key in keys if before.get(key) != now.get(key)]
    if changed:
        say(f"note: the environment has changed: {', '.join(changed)}")
