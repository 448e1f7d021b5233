"""Settings of a search: the group `sweep`."""

import re
from dataclasses import dataclass, field
from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from jaxrec import settings
from jaxrec.errors import InputError
from jaxrec.metrics import METRICS
from jaxrec.settings import Tree
from jaxrec.sweep.objectives import Goals, goals
from jaxrec.sweep.space import Values


@dataclass(frozen=True)
class Search:
    """Settings of conf/sweep; the keys are documented there."""

    n_trials: PositiveInt | None  # None: as many as fit into the timeout
    population: PositiveInt  # "auto" is replaced by `jaxrec.launch`
    sampler: Literal["auto", "tpe", "random", "cmaes", "qmc", "nsga2", "gp", "grid"]
    seed: NonNegativeInt
    refit: bool
    pruner: Literal["none", "median", "percentile", "halving", "hyperband", "wilcoxon"]
    space: Values
    tunes: Values = field(default_factory=dict)
    study_name: str | None = None
    storage: str | None = None
    timeout: PositiveFloat | None = None
    warm_start: str | None = None
    workers: PositiveInt = 1
    models: tuple[str, ...] = ()
    finalists: PositiveInt = 1
    finalist_seeds: PositiveInt = 3
    strategy: Literal["search", "pbt"] = "search"
    interval: PositiveInt | None = None
    objectives: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    keep: Literal["best", "front"] = "best"

    def measuring(self, tree: Tree) -> Tree:
        """Return a configuration that reports the objectives and constraints, too: they are added to eval.metrics."""
        reported = settings.get(tree, "eval.metrics")
        named = [*self.objectives, *(re.split("[<>]=", text)[0].strip() for text in self.constraints)]
        lists = [name.rpartition("@")[0] for name in named if name not in settings.build(tree["eval"]).measured]
        missing = [name for name in dict.fromkeys(lists) if name in METRICS and name not in (reported or ())]
        return settings.put(tree, {"eval.metrics": (*reported, *missing)}) if reported and missing else tree

    def goals(self, tree: Tree) -> Goals:
        """Return further objectives and constraints of a search with this configuration."""
        if self.keep == "front" and len(self.objectives) < 2:
            raise InputError("sweep.keep=front needs several objectives: set sweep.objectives, or sweep.keep=best")
        evaluation = settings.build(tree["eval"])
        return goals(self.objectives, self.constraints, evaluation.monitor, evaluation.measured)
