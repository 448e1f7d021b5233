"""Plan of population-based training: one trial per member, all of them from the start to the end."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from jaxrec import settings
from jaxrec.errors import InputError
from jaxrec.fitting.population import MAX_SLOTS, Population
from jaxrec.settings import Tree
from jaxrec.sweep.plan import Plan
from jaxrec.sweep.pruning import Pruning
from jaxrec.sweep.search_settings import Search
from jaxrec.sweep.space import Choice, Dimension, Value, Values, reaching
from jaxrec.sweep.tuning import Tuning

SAMPLERS = {"tpe": "random", "random": "random", "qmc": "qmc"}  # of the first parameters
PARTS = 10  # intervals by default
SHARED = ("seed", "trainer.epochs", "trainer.patience", "trainer.validate_every")


def population_plan(plan: Plan, chosen: Search, tuning: Tuning) -> Plan:
    """Return the plan of a search turned into that of a population if that is the strategy.

    Raises:
        InputError: a setting has no effect on a population, or no dimension can change in training.
    """
    if chosen.strategy == "search":
        return plan
    _check(chosen, tuning)
    own = {
        "strategy": "pbt",
        "population": chosen.population,
        "seed": chosen.seed,
        "interval": interval_of(chosen, tuning),
    }
    fixed = {**plan.fixed, **{f"sweep.{key}": value for key, value in own.items()}}
    pruning = Pruning("none", plan.pruning.epochs, plan.pruning.validate_every)
    return replace(plan, n_trials=chosen.population, sampler=SAMPLERS[chosen.sampler], pruning=pruning, fixed=fixed)


def interval_of(chosen: Search, tuning: Tuning) -> int:
    """Return the epochs between two copies: `sweep.interval`, or a tenth of all epochs.

    Raises:
        InputError: it is no multiple of the epochs between validations, or too long.
    """
    epochs, every = (settings.get(tuning.tree, f"trainer.{key}") for key in ("epochs", "validate_every"))
    found = int(chosen.interval or every * max(1, round(epochs / PARTS / every)))
    if found % every:
        raise InputError(f"sweep.interval={found} must be a multiple of trainer.validate_every={every}")
    if found >= epochs:
        raise InputError(
            f"no member would copy another: sweep.interval={found} must be less than trainer.epochs={epochs}"
        )
    return found


def model_sizes(tuning: Tuning, params: Values) -> set[str]:
    """Return the parameters that are array sizes of the model, such as `model.embedding_dim`.

    They do not change in training: new columns would stay zero, and columns no longer in use would keep their values.
    """
    numbers = settings.numbers_of(tuning.tree_of(params))
    return {key for key in params if key.startswith("model.") and key in numbers and numbers[key].is_size}


def _check(chosen: Search, tuning: Tuning) -> None:
    if settings.get(tuning.tree, "trainer.epochs") is None:
        name = settings.target_name(tuning.tree["model"])
        raise InputError(f"sweep.strategy=pbt changes settings while a model trains, and {name} trains without epochs")
    if not 2 <= chosen.population <= MAX_SLOTS:
        raise InputError(f"sweep.population={chosen.population}: sweep.strategy=pbt needs 2 to {MAX_SLOTS} members")
    refused = {
        f"sweep.sampler={chosen.sampler}": chosen.sampler not in SAMPLERS,
        f"sweep.pruner={chosen.pruner}": chosen.pruner not in ("halving", "none"),
        f"sweep.timeout={chosen.timeout}": chosen.timeout is not None,
        f"sweep.warm_start={chosen.warm_start}": chosen.warm_start is not None,
        f"sweep.workers={chosen.workers}": chosen.workers > 1,
        f"sweep.objectives={list(chosen.objectives)}": len(chosen.objectives) > 1,
        f"sweep.constraints={list(chosen.constraints)}": len(chosen.constraints) > 0,
    }
    if wrong := [text for text, is_refused in refused.items() if is_refused]:
        raise InputError(
            f"{wrong[0]} has no effect with sweep.strategy=pbt, where all members train from start to end: omit it"
        )
    if wrong := [key for key in SHARED if key in tuning.space]:
        raise InputError(f"{wrong[0]} is the same for all members with sweep.strategy=pbt: remove it from the space")
    if not any(_can_change(tuning, key) for key in tuning.space):
        raise InputError(
            f"sweep.strategy=pbt needs a setting that can change in training, and {', '.join(tuning.space)} cannot: "
            "add a number such as optimizer.learning_rate, or set sweep.strategy=search"
        )


def _can_change(tuning: Tuning, key: str) -> bool:
    """Return whether a member can go from one value of a dimension to another within its program."""
    params = reaching(tuning.space, key)
    if key in model_sizes(tuning, params | {key: tuning.space[key].extremes()[0]}):
        return False
    programs = [program_of(tuning, params | {key: value})[0] for value in _probes(tuning.space[key])]
    return any(a == b for a, b in itertools.pairwise(programs))


def program_of(tuning: Tuning, params: Values) -> tuple[str, Tree, Population]:
    """Return the program of a member, with arrays as large as the largest of the space; see `settings.program_of`."""
    return settings.program_of(tuning.tree_of(params), tuning.extremes, to_largest=True)


def _probes(dimension: Dimension) -> Sequence[Value]:
    if isinstance(dimension, Choice):
        return dimension.choices
    middle = (dimension.low + dimension.high) / 2
    return [dimension.low, int(middle) if dimension.integer else middle, dimension.high]
