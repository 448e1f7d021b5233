"""Populations: which configurations one compiled program trains, and the numbers of its members.

Numbers declared by annotations, see `jaxrec.hyper`, may differ between the members of one population; all other
settings are static and determine the program.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.arguments import locate
from jaxrec.errors import InputError
from jaxrec.fitting.population import Population
from jaxrec.hyper import Declared, Hyper, declared
from jaxrec.settings.schedule import SCHEDULE, Schedule, steps_of
from jaxrec.settings.tree import Tree, get, put

GROUPS = ("model", "loss", "negatives", "optimizer")  # parts whose numbers may differ between members
PADDING_STEP = 8  # a search pads arrays by less than this factor: more costs training time, less costs compilations


def populations(trees: Sequence[Tree]) -> Iterator[tuple[list[int], Tree, Population]]:
    """Group configurations that one program can train.

    Yields:
        Positions in `trees`, the shared settings, and the population of members.
    """
    groups: dict[str, list[int]] = {}
    for position, tree in enumerate(trees):
        key = program_of_schedule(tree)[0] if get(tree, SCHEDULE) else _program(tree, numbers_of(tree))
        groups.setdefault(key, []).append(position)
    for positions in groups.values():
        yield positions, *_population([trees[position] for position in positions])


def program_of(
    tree: Tree, extremes: Mapping[str, Sequence[Any]], *, to_largest: bool = False
) -> tuple[str, Tree, Population]:
    """Return a key of the program that trains a trial, its settings, and the trial as a population of one.

    The program depends only on the trial and the search space, not on other trials: numbers of the space that can be
    traced are traced, and arrays are padded by steps of `PADDING_STEP`.

    Args:
        tree: settings of the trial.
        extremes: bounds or choices of every dimension of the search space, by key; a run with a schedule has its own.
        to_largest: pad arrays to the largest of the space, so that a member can take any of its sizes.
    """
    if get(tree, SCHEDULE):
        return program_of_schedule(tree)
    numbers = {key: number for key, number in numbers_of(tree).items() if not number.is_swept or key in extremes}
    sizes = {}
    for key in (key for key, number in numbers.items() if number.is_size):
        value = int(get(tree, key))
        largest = int(max(extremes.get(key, [value])))
        sizes[key] = max(largest, value) if to_largest else _padded(value, largest)
    shared = put(tree, sizes)
    population = Population(np.array([tree["seed"]]), _hyper([tree], numbers))
    return _program(shared, numbers, sizes), shared, population


def numbers_of(tree: Tree) -> dict[str, Declared]:
    """Return the numbers of these settings that may differ between members, by key."""

    def within(node: object, path: str) -> Iterator[tuple[str, Declared]]:
        if not isinstance(node, Mapping):
            return
        own = declared(locate(node["_target_"])) if "_target_" in node else {}
        for name, value in node.items():
            if name in own and type(value) in (int, float):
                yield f"{path}.{name}", own[name]
            yield from within(value, f"{path}.{name}")

    return {key: number for group in GROUPS for key, number in within(tree.get(group), group)}


def program_of_schedule(tree: Tree) -> tuple[str, Tree, Population]:
    """Return `program_of` a run with a schedule.

    Raises:
        InputError: a step changes a setting that is part of the program.
    """
    schedule, steps = Schedule.of(get(tree, SCHEDULE)), steps_of(tree)
    keys = dict.fromkeys([*schedule.space, *(key for step in schedule.steps for key in step.overrides)])
    extremes = {key: [*schedule.space.get(key, []), *(get(each, key) for each in steps.values())] for key in keys}
    first = steps.pop(1)
    key, shared, population = program_of(first, extremes, to_largest=True)
    later = {}
    for epoch, each in steps.items():
        other, _, changed = program_of(each, extremes, to_largest=True)
        if other != key:
            fixed = [k for k in keys if program_of(put(first, {k: get(each, k)}), extremes, to_largest=True)[0] != key]
            raise InputError(
                f"{SCHEDULE}: {fixed[0]} cannot change to {get(each, fixed[0])} at epoch {epoch}: it is part of the "
                "compiled program; set it once, outside the schedule"
            )
        later[epoch] = changed.hyper
    given = get(tree, SCHEDULE)
    return f"{key} {json.dumps(given)}", put(shared, {SCHEDULE: given}), population._replace(later=later)


def _population(trees: Sequence[Tree]) -> tuple[Tree, Population]:
    if get(trees[0], SCHEDULE):
        parts = [program_of_schedule(tree) for tree in trees]
        return parts[0][1], Population.joined([population for *_, population in parts])
    differ = {key: len({get(tree, key) for tree in trees}) > 1 for key in numbers_of(trees[0])}
    numbers = {key: number for key, number in numbers_of(trees[0]).items() if differ[key] or not number.is_swept}
    sizes = {key: max(get(tree, key) for tree in trees) for key, number in numbers.items() if number.is_size}
    return put(trees[0], sizes), Population(np.array([tree["seed"] for tree in trees]), _hyper(trees, numbers))


def _hyper(trees: Sequence[Tree], numbers: Mapping[str, Declared]) -> Hyper:
    """Return these numbers of the members, [P] each."""
    paths = {key: f"{key.rpartition('.')[0]}.{number.argument}" for key, number in numbers.items()}
    return Hyper({paths[key]: np.array([get(tree, key) for tree in trees], n.dtype) for key, n in numbers.items()})


def _program(tree: Tree, numbers: Mapping[str, Declared], sizes: Mapping[str, int] | None = None) -> str:
    """Return the static settings that members of one population must share, as a key.

    A penalty of 0 is left out of the program, so a member is penalized or not whatever its neighbors are.
    """
    penalized = bool(get(tree, "model.regularization"))
    static = {**put(tree, dict.fromkeys(numbers, "traced")), "seed": None, "sizes": sizes, "penalized": penalized}
    return json.dumps(static, sort_keys=True, default=str)


def _padded(value: int, largest: int) -> int:
    """Return the array size for a value: the largest of the space, divided by `PADDING_STEP` as often as possible."""
    size = largest
    while (smaller := -(-size // PADDING_STEP)) >= value and smaller < size:
        size = smaller
    return max(size, value)
