"""Plan of a search, and its record in the study, which is continued only with the settings it was started with."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study

from jaxrec.command_line import keys_of
from jaxrec.errors import InputError
from jaxrec.sweep import warm_start
from jaxrec.sweep.objectives import Goals
from jaxrec.sweep.outcome import Outcome
from jaxrec.sweep.pruning import Pruning
from jaxrec.sweep.samplers import CONSTRAINED, make_sampler, note_if_random, resolve
from jaxrec.sweep.space import Dimension, Space, Values, check_space, grid, in_all_trials, space_to_plain
from jaxrec.sweep.trials import FORMAT, check_format, key_of, progress

UNLIMITED = 1_000_000  # trials of a search that only its timeout ends

# Settings that earlier studies do not have, with the values that they were trained with.
ADDED: dict[str, object] = {
    "eval.users": None,
    "optimizer.clip_norm": None,
    "optimizer.warmup_epochs": 0.0,
    "optimizer.cosine_epochs": None,
    "optimizer.ema": None,
    "trainer.precision": "float32",
    "trainer.loss_scale": 1.0,
    "trainer.mesh._target_": "jaxrec.mesh.MeshSize",
    "trainer.mesh.member": "auto",
    "trainer.mesh.batch": "auto",
    "trainer.mesh.row": 1,
    "loss.cost.corrected": True,
    "model.temperature": None,
    "model.biases": True,
    "model.normalize": "query",
    "model.activation": "relu",
    "model.feed_forward": 1,
    "model.gated": False,
    "model.relative": False,
    "model.tied": True,
    "model.query_components": 0,
    "model.item_components": None,
    "model.component_dim": None,
    "model.gate_units": 16,
    "model.time_bias": False,
    "model.item_features": False,
    "model.id_dropout": 0.0,
    "model.user_features": False,
    "model.event_kind": False,
    "model.time_gap": 0,
    "model.calendar": False,
    "model.value": 0,
    "model.block": None,
    "model.cg_steps": None,
    "eval.category": None,
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Definition of a search: space, metric, algorithm and limits.

    Attributes:
        space: dimensions by key
        n_trials: target number of trials in the study; the grid sampler uses the number of combinations instead
        population: number of trials in training at once
        metric: name of the metric in `Outcome.value`
        fixed: settings shared by all trials. A study is continued only with the same settings, metric and space; the
            sampler, `n_trials` and `population` may change
        sampler: one of `samplers.SAMPLERS`
        seed: seed of the sampler
        direction: "maximize" or "minimize"
        first: parameters of the first trial of a new study; None: the sampler's
        pruning: when trials are ended early
        timeout: minutes after which a process starts no more trials, and stops its own after the epoch in training; it
            continues until the study has a complete trial. None: no limit
        goals: further objectives, and constraints
        source: study whose complete trials are added to a new study; they do not count toward `n_trials`
        overrides: the command-line overrides behind `fixed`, stored so that a trial can be repeated
        data: fingerprint of the data, with which a study is continued; empty: not compared
    """

    space: Mapping[str, Dimension]
    n_trials: int
    population: int
    metric: str
    fixed: Mapping[str, object]
    sampler: str = "tpe"
    seed: int = 0
    direction: str = "maximize"
    first: Mapping[str, object] | None = None
    pruning: Pruning = field(default_factory=Pruning)
    timeout: float | None = None
    goals: Goals = field(default_factory=Goals)
    source: Study | None = None
    overrides: Sequence[str] = ()
    data: str = ""

    def __post_init__(self) -> None:
        for name, number in (("sweep.n_trials", self.n_trials), ("sweep.population", self.population)):
            if number < 1:
                raise InputError(f"{name} must be at least 1, got {number}")
        if self.direction not in ("maximize", "minimize"):
            raise InputError(f"sweep.direction must be maximize or minimize, got {self.direction}")
        if self.goals.objectives and self.algorithm == "cmaes":
            raise InputError("sweep.sampler=cmaes has one objective: choose tpe, nsga2, gp, qmc, random or grid")
        if self.source is not None and (self.goals.objectives or self.goals.constraints):
            raise InputError("sweep.warm_start cannot be combined with sweep.objectives or sweep.constraints: omit it")
        _ = self.combinations  # a grid needs discrete dimensions

    @cached_property
    def dimensions(self) -> Space:
        """The space, with every dimension after those that its condition names."""
        return check_space(self.space)

    @cached_property
    def algorithm(self) -> str:
        """Name of the sampler in use."""
        return resolve(self.sampler, self.dimensions, self.n_trials)

    @cached_property
    def combinations(self) -> dict[str, Values] | None:
        """Parameters of all trials of a grid, by `key_of`; None for other samplers."""
        return {key_of(params): params for params in grid(self.space)} if self.algorithm == "grid" else None

    @property
    def directions(self) -> list[str]:
        """Direction of each objective."""
        return [self.direction, *self.goals.directions]

    def checked(self, outcome: Outcome) -> Outcome:
        """Return an outcome, as a failure if a further objective is not defined."""
        if outcome.failure or outcome.state == "pruned":
            return outcome
        for name, value in zip(self.goals.objectives, self.goals.values(outcome.attributes), strict=True):
            if not math.isfinite(value):
                return Outcome(None, "failed", {**outcome.attributes, "error": f"{name} is {value}"})
        return outcome

    @property
    def total(self) -> int:
        """Number of trials in the end."""
        return self.n_trials if self.combinations is None else len(self.combinations)

    def counts(self, study: Study) -> tuple[int, int]:
        """Return how many of the `total` trials have ended, and how many are running."""
        return progress(warm_start.without_added(study.get_trials(deepcopy=False)), self.combinations)

    def sampler_of(self, number: int) -> optuna.samplers.BaseSampler:
        """Return the sampler that proposes the trial of a number."""
        is_conditional = any(dimension.when for dimension in self.dimensions.values())
        return make_sampler(self.algorithm, self.seed, number, is_conditional)

    @property
    def remarks(self) -> list[str]:
        """Sentences to print before the search."""
        if self.source is not None:
            added = [warm_start.describe(self.source, self.dimensions, self.fixed)]
            if self.algorithm in ("tpe", "gp"):  # they learn from the added trials
                return added
        else:
            added = []
        if self.goals.objectives:
            added.append("several objectives: no trial is ended early (sweep.pruner has no effect)")
        if self.goals.constraints and self.algorithm not in CONSTRAINED:
            added.append(f"sweep.sampler={self.algorithm} ignores sweep.constraints: they only exclude the best trial")
        typed = keys_of(self.overrides)
        for key, value in (self.first or {}).items():
            if key in typed:
                added.append(f"{key}={value} is only tried first: {in_all_trials(key, value)}")
        note = note_if_random(self.algorithm, self.dimensions, self.n_trials, self.population)
        return added + [note] * bool(note)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's log line for every study opened or created."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def open_study(plan: Plan, name: str, storage: BaseStorage) -> Study:
    """Open a study, or create it without trials and settings.

    Raises:
        InputError: the study has another direction.
    """
    to = [optuna.study.StudyDirection[each.upper()] for each in plan.directions]
    with quiet_optuna():
        study = optuna.create_study(study_name=name, storage=storage, directions=to, load_if_exists=True)
    if (stored := [each.name.lower() for each in study.directions]) != plan.directions:
        raise InputError(
            f"study {name} was created to {' and '.join(stored)}, this sweep is to {' and '.join(plan.directions)}: "
            "set another sweep.study_name"
        )
    return study


def fill_or_check(study: Study, plan: Plan) -> None:
    """Add settings and first trials to a new study; check the settings of another. Workers do this one at a time.

    Raises:
        InputError: the study has other settings.
    """
    settings: Values = {"space": space_to_plain(plan.space), "metric": plan.metric}
    if plan.goals.objectives:
        settings["objectives"] = [plan.metric.removeprefix("validation "), *plan.goals.objectives]
    settings["constraints"] = [str(each) for each in plan.goals.constraints]
    settings["fixed"] = dict(plan.fixed)  # the last to be written, see `_fill`
    settings = json.loads(json.dumps(settings))  # as the storage returns them: tuples become lists
    check_format(study)
    if "fixed" in study.user_attrs:
        _check(study, plan, settings)
    else:
        _fill(study, plan, settings)


def _fill(study: Study, plan: Plan, settings: Mapping[str, object]) -> None:
    """Add the first trials and the settings to a new study."""
    if plan.source is not None:
        warm_start.add(study, plan.source, plan.dimensions, plan.fixed)
        study.set_user_attr("warm_start", plan.source.study_name)
    if plan.first is not None and not warm_start.without_added(study.get_trials(deepcopy=False)):
        study.enqueue_trial(dict(plan.first))
    # `fixed` is written last: a process killed halfway leaves a study that still counts as new.
    for name, value in {"format": FORMAT, "overrides": list(plan.overrides), "data": plan.data, **settings}.items():
        study.set_user_attr(name, value)


def _check(study: Study, plan: Plan, settings: Values) -> None:
    """Raise an InputError if a study has other settings."""
    stored = study.user_attrs
    old, new = (_flat({name: source.get(name) for name in settings}) for source in (stored, settings))
    old |= {key: value for key, value in ADDED.items() if key in new and key not in old}
    if changed := [key for key in dict.fromkeys([*old, *new]) if old.get(key, _ABSENT) != new.get(key, _ABSENT)]:
        differing = [f"{key}: was {old.get(key, _ABSENT)}, now {new.get(key, _ABSENT)}" for key in changed]
        raise InputError(
            f"study {study.study_name} has trials with other settings; set another sweep.study_name to start a new "
            "study, or restore " + "; ".join(differing)
        )
    if (data := stored.get("data")) and plan.data and data != plan.data:
        raise InputError(
            f"study {study.study_name} has trials on other data: the interactions in train or validation have changed; "
            "start a new study in another directory and with another sweep.study_name, or restore the data"
        )
    if plan.source is not None and stored.get("warm_start") != plan.source.study_name:
        raise InputError(
            f"study {study.study_name} was started without sweep.warm_start={plan.source.study_name}, which adds "
            "trials to new studies only: omit it, or set another sweep.study_name"
        )


_ABSENT = "absent"


def _flat(settings: Values) -> Values:
    space = {f"sweep.space {key}": value for key, value in (settings["space"] or {}).items()}
    given = {f"sweep.{name}": settings.get(name) or [] for name in ("objectives", "constraints")}
    return {"sweep.metric": settings["metric"], **given, **space, **(settings["fixed"] or {})}
