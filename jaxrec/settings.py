"""Settings: validation of a composed configuration (a plain tree of dicts) and construction of its objects.

A node with `_target_` names a class or function and its arguments, which are checked against the annotations of the
target before anything runs. Numbers declared by annotations, see `jaxrec.hyper`, may differ between the members of one
population; all other settings are static and determine the program.
"""

import copy
import dataclasses
import functools
import inspect
import json
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import flax.linen as nn
import numpy as np
import yaml
from pydantic import NonNegativeInt, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

from jaxrec.arguments import GIVEN, check_value, locate
from jaxrec.combinations import check_combinations
from jaxrec.errors import InputError
from jaxrec.fitting.population import Population
from jaxrec.hyper import Declared, Hyper, declared, has_array, parts_of
from jaxrec.models.model import Alternating, Model, Solved
from jaxrec.negatives.sampler import Sampler
from jaxrec.renamed import up_to_date
from jaxrec.schedule import Schedule

Tree = dict[str, Any]

_PACKAGED = Path(__file__).parent / "conf"  # in the wheel; a checkout has it at the top level
CONF = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "conf"
_TRUSTED = [CONF]  # folders whose files may name import targets

_TOP: dict[str, TypeAdapter] = {
    "seed": TypeAdapter(NonNegativeInt),
    "refit": TypeAdapter(bool),
}
# Keys of a config.yaml that belong to the command, not to the run.
OF_COMMAND = ("hydra", "defaults", "overwrite", "resume", "seeds", "cluster")
GROUPS = ("model", "loss", "negatives", "optimizer")  # parts whose numbers may differ between members
SCHEDULE = "trainer.schedule"
PADDING_STEP = 8  # a search pads arrays by less than this factor: more costs training time, less costs compilations


def check(tree: Tree) -> None:
    """Raise an InputError for the first key that is unknown, of the wrong type, or out of range."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            if "_target_" in value:
                _check_node(value, key)
        elif key in _TOP:
            check_value(_TOP[key], value, key)
        else:
            raise InputError(f"{key} is unknown; available: {', '.join(k for k in tree if k != key)}")
    if {"model", "trainer", "loss"} <= tree.keys():
        _check_parts(tree)
        if get(tree, SCHEDULE):
            for step in steps_of(tree).values():
                check(step)
            _scheduled(tree)
    if {"data", "split", "model", "loss", "eval"} <= tree.keys():
        check_combinations(tree)


def build(node: Tree, **runtime: Any) -> Any:
    """Call the target of a node with its arguments and the `runtime` arguments that it accepts.

    With `_partial_: true`, return the function with these arguments bound instead of its result.
    """
    target = locate(node["_target_"])
    arguments = {key: _build_value(value) for key, value in node.items() if not key.startswith("_")}
    takes = inspect.signature(target).parameters
    arguments |= {key: value for key, value in runtime.items() if key in takes}
    arguments = {k: float(v) if type(v) is int and k in _floats(node["_target_"]) else v for k, v in arguments.items()}
    return functools.partial(target, **arguments) if node.get("_partial_") else target(**arguments)


def call(path: str, tree: Tree) -> Any:
    """Call a target with the keys of a command's config, each checked against its annotation."""
    adapters = _signature(path)[1]
    for key, value in tree.items():
        check_value(adapters[key], value, key)
    return locate(path)(**tree)


def give(target: Any) -> str:
    """Register a function or class with `locate`, wherever it was defined; return its dotted path."""
    path = f"{target.__module__}.{target.__qualname__}".replace("<locals>.", "")
    GIVEN[path] = target
    for cached in (_signature, _floats):
        cached.cache_clear()  # a notebook may redefine a class of the same name
    return path


def register(folder: Path) -> None:
    """Trust a user folder with the layout of conf/: targets named in its files may be built.

    `--config-dir FOLDER` does this for a command.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: pass a folder of settings with files such as model/my_model.yaml")
    if folder not in _TRUSTED:
        _TRUSTED.append(folder)
        registered.cache_clear()


@functools.cache
def registered(group: str = "") -> frozenset[str]:
    """Return the targets named in conf/ and registered folders, of all groups or of one, e.g. `model`."""
    files = [file for folder in _TRUSTED for file in sorted((folder / group).rglob("*.yaml"))]
    return frozenset(path for file in files for path in targets(read(file)))


def read(file: Path) -> Any:
    """Read a YAML file; raise InputError if it cannot be read."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise InputError(f"{file} cannot be read: {' '.join(str(error).split())}") from error


def targets(node: object) -> Iterator[str]:
    """Yield every dotted path of a tree that would be imported: each `_target_`, and user-defined metrics."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        if isinstance(names := node.get("metrics"), list | tuple):
            yield from (path for name in names if "." in (path := str(name).partition("(")[0].strip()))
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            yield from targets(value)


def check_registered(tree: Tree, file: Path) -> None:
    """Raise an InputError if a file names a target that neither conf/ nor a registered folder names."""
    for path in targets(up_to_date(tree)):
        if path not in registered():
            raise InputError(
                f"{file} has _target_: {path}, which conf/ does not name, so the file is not run. If the target is "
                "yours, name it in your own settings, FOLDER/model/my_model.yaml, and add --config-dir FOLDER"
            )


def populations(trees: Sequence[Tree]) -> Iterator[tuple[list[int], Tree, Population]]:
    """Group configurations that one program can train.

    Yields:
        Positions in `trees`, the shared settings, and the population of members.
    """
    groups: dict[str, list[int]] = {}
    for position, tree in enumerate(trees):
        key = _scheduled(tree)[0] if get(tree, SCHEDULE) else _program(tree, numbers_of(tree))
        groups.setdefault(key, []).append(position)
    for positions in groups.values():
        yield positions, *_population([trees[position] for position in positions])


def get(tree: Tree, key: str, default: Any = None) -> Any:
    """Return the value at a dotted key, or `default`."""
    for name in key.split("."):
        if not isinstance(tree, Mapping) or name not in tree:
            return default
        tree = tree[name]
    return tree


def put(tree: Tree, values: Mapping[str, object]) -> Tree:
    """Return a copy with new values at existing dotted keys."""
    tree = copy.deepcopy(tree)
    for key, value in values.items():
        *path, name = key.split(".")
        node = functools.reduce(lambda node, part: node[part], path, tree)
        if name not in node:
            raise InputError(f"{key} is not a setting of this run; {'.'.join(path)} has {', '.join(node)}")
        node[name] = value
    return tree


def flat(tree: Mapping[str, object], prefix: str = "") -> Tree:
    """Return all leaves by dotted key."""
    leaves: Tree = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves


def differing(*trees: Mapping[str, object]) -> list[str]:
    """Return the dotted keys whose values are not the same in all trees, in the order of their first appearance."""
    leaves = [flat(tree) for tree in trees]
    keys = dict.fromkeys(key for each in leaves for key in each)
    return [key for key in keys if any(each.get(key) != leaves[0].get(key) for each in leaves)]


def tuples(value: Any) -> Any:
    """Return a tree with tuples in place of lists."""
    if isinstance(value, Mapping):
        return {str(key): tuples(item) for key, item in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value


def is_random(tree: Tree) -> bool:
    """Return whether a run depends on its seed; models that are solved in closed form, without epochs, do not."""
    return get(tree, "trainer.epochs") is not None


def fold_of(tree: Tree) -> int | None:
    """Test period of a run, of a split that has several."""
    fold: int | None = get(tree, "split.fold")
    return fold


def without_replica(tree: Tree) -> Tree:
    """Settings without the seed and the fold: those of the runs that estimate the same quantity."""
    split = {key: value for key, value in tree["split"].items() if key != "fold"}
    return {**tree, "split": split, "seed": None}


def with_seeds(tree: Tree, seeds: int) -> list[Tree]:
    """Return the configuration with `seeds` consecutive seeds; once, if it uses no random numbers."""
    return [{**tree, "seed": tree["seed"] + n} for n in range(seeds if is_random(tree) else 1)]


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
        return _scheduled(tree)
    numbers = {key: number for key, number in numbers_of(tree).items() if not number.is_swept or key in extremes}
    sizes = {}
    for key in (key for key, number in numbers.items() if number.is_size):
        value = int(get(tree, key))
        largest = int(max(extremes.get(key, [value])))
        sizes[key] = max(largest, value) if to_largest else _padded(value, largest)
    shared = put(tree, sizes)
    population = Population(np.array([tree["seed"]]), _hyper([tree], numbers))
    return _program(shared, numbers, sizes), shared, population


def steps_of(tree: Tree) -> dict[int, Tree]:
    """Return the settings of a run with a schedule, by first epoch.

    Raises:
        InputError: a step sets an unknown key.
    """
    current = put(tree, {SCHEDULE: None})
    steps, keys = {1: current}, flat(current)
    for step in Schedule.of(get(tree, SCHEDULE)).steps:
        if unknown := [key for key in step.overrides if key not in keys]:
            raise InputError(f"{SCHEDULE}: {unknown[0]} is not a setting of this run")
        steps[step.from_epoch] = current = put(current, step.overrides)
    return steps


def _scheduled(tree: Tree) -> tuple[str, Tree, Population]:
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


def _population(trees: Sequence[Tree]) -> tuple[Tree, Population]:
    if get(trees[0], SCHEDULE):
        parts = [_scheduled(tree) for tree in trees]
        return parts[0][1], Population.joined([population for *_, population in parts])
    differ = {key: len({get(tree, key) for tree in trees}) > 1 for key in numbers_of(trees[0])}
    numbers = {key: number for key, number in numbers_of(trees[0]).items() if differ[key] or not number.is_swept}
    sizes = {key: max(get(tree, key) for tree in trees) for key, number in numbers.items() if number.is_size}
    return put(trees[0], sizes), Population(np.array([tree["seed"] for tree in trees]), _hyper(trees, numbers))


@functools.cache
def _floats(target: str) -> set[str]:
    """Arguments of a target that take a float and no int: a file may write 1 for 1.0."""
    hints = {name: set(parts_of(hint)) for name, hint in get_type_hints(locate(target), include_extras=True).items()}
    return {name for name, parts in hints.items() if float in parts and int not in parts}


def _build_value(value: object) -> object:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build(dict(value))
        return {key: _build_value(item) for key, item in value.items()}
    return tuple(_build_value(item) for item in value) if isinstance(value, list | tuple) else value


def _check_parts(tree: Tree) -> None:
    """Raise an InputError if model, trainer, loss, negatives and optimizer are incompatible."""
    model, trainer, loss = (str(tree[part].get("_target_", "")) for part in ("model", "trainer", "loss"))
    name, model_class = model.rpartition(".")[2], locate(model)
    uses_gradient = "objective" in _signature(trainer)[0]
    if not (isinstance(model_class, type) and issubclass(model_class, Model)):
        raise InputError(f"model._target_: {model} does not derive from jaxrec.models.Model: write class {name}(Model)")
    kinds: dict[str, type[Model]] = {"ClosedForm": Solved, "AlternatingFit": Alternating}
    if not issubclass(model_class, kinds.get(trainer.rpartition(".")[2], Model)):
        raise InputError(f"trainer={trainer.rpartition('.')[2]} cannot train {name}: set trainer=gradient")
    if uses_gradient and issubclass(model_class, Solved | Alternating):
        required = "closed_form" if issubclass(model_class, Solved) else "alternating"
        raise InputError(f"{name} is not trained by gradient descent: set trainer={required}")
    if loss and not uses_gradient:
        raise InputError(
            f"{name} is trained without a loss, so {loss.rpartition('.')[2]} cannot be its loss: omit loss=... "
            "(loss=none), or choose a model with a loss, e.g. model=mf"
        )
    for part, word in (("optimizer", "an optimizer"), ("negatives", "negatives")):
        if (unused := tree.get(part, {}).get("_target_")) and not uses_gradient:
            raise InputError(
                f"{name} is trained without {word}, so {part}={unused.rpartition('.')[2].lower()} has no effect: omit "
                f"it ({part}=none), or choose a model that is trained by gradient descent, e.g. model=mf"
            )
    if uses_gradient and not loss:
        raise InputError(f"{name} needs a loss and none is set: set one, e.g. loss=bpr")
    if uses_gradient and "_target_" not in tree["optimizer"]:
        raise InputError(f"{name} needs an optimizer and none is set: set one, e.g. optimizer=adam")
    sampler = tree.get("negatives", {}).get("_target_")
    if loss.endswith(".SampledObjective") and sampler is None:
        raise InputError("this loss needs negatives and none are set: set a sampler, e.g. negatives=uniform")
    if sampler is not None and isinstance(kind := locate(sampler), type) and not issubclass(kind, Sampler):
        raise InputError(
            f"negatives._target_: {sampler} does not derive from jaxrec.negatives.sampler.Sampler: write class "
            f"{kind.__name__}(Sampler)"
        )


def _check_node(node: Mapping[str, Any], path: str) -> None:
    if not isinstance(node["_target_"], str):
        raise InputError(f"{path}._target_={node['_target_']!r}: must be the dotted path of a class or function")
    parameters, adapters = _signature(node["_target_"])
    for key, value in node.items():
        if key.startswith("_"):
            continue
        if key not in parameters:
            raise InputError(
                f"{path}.{key} is unknown; {path} takes {', '.join(k for k in parameters)}: ~{path}.{key} removes it"
            )
        if isinstance(value, Mapping) and "_target_" in value:
            _check_node(value, f"{path}.{key}")
        elif key in adapters:
            check_value(adapters[key], value, f"{path}.{key}")
    _check_together(node)


def _check_together(node: Mapping[str, Any]) -> None:
    """Run the target's own checks of its arguments: `checked_by`, or the construction of a dataclass."""
    target = locate(node["_target_"])
    own = {key: value for key, value in node.items() if not key.startswith("_")}
    if check := getattr(target, "check_arguments", None):
        check(**{key: value for key, value in own.items() if key in inspect.signature(check).parameters})
    needs = [p.name for p in inspect.signature(target).parameters.values() if p.default is p.empty]
    # A module can only be built after the data is read, because it needs its sizes.
    is_module = isinstance(target, type) and issubclass(target, nn.Module)
    if dataclasses.is_dataclass(target) and not is_module and set(needs) <= own.keys():
        build(dict(node))


def _without_arrays(hint: Any) -> Any:
    """Return the hint without array types: `float | Float[Array, ""]` is a float in a file."""
    is_union = get_origin(hint) in (Union, types.UnionType)
    return Union[tuple(kind for kind in get_args(hint) if not has_array(kind))] if is_union else hint  # noqa: UP007


@functools.cache
def _signature(target: str) -> tuple[tuple[str, ...], dict[str, TypeAdapter]]:
    """Return the argument names of a target, and type adapters for those that YAML can represent."""
    factory = locate(target)
    hints = get_type_hints(factory, include_extras=True)
    adapters = {}
    for name in inspect.signature(factory).parameters:
        try:
            adapters[name] = TypeAdapter(_without_arrays(hints[name]))
        except (KeyError, PydanticSchemaGenerationError, PydanticUserError):
            continue  # arrays and modules are passed at run time, never by a file
    is_module = isinstance(factory, type) and issubclass(factory, nn.Module)
    hidden = {"parent", "name"} if is_module else set()  # fields that linen adds to every module
    return tuple(name for name in inspect.signature(factory).parameters if name not in hidden), adapters
