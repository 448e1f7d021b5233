"""A composed configuration, as a plain tree of dicts → the objects that a run is made of.

A node with `_target_` names what it builds and gives its arguments, which are checked against the annotations of
their target before anything runs. Keys whose numbers are traced (those of `TRACED`, and every argument annotated
`float | Traced`) may differ between the members of one population; all others name the program.
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
from jaxrec.hyper import Hyper
from jaxrec.models.model import Alternating, Model, Solved
from jaxrec.negatives.sampler import Sampler
from jaxrec.renamed import up_to_date

Tree = dict[str, Any]

_PACKAGED = Path(__file__).parent / "conf"  # in the wheel; a checkout has it at the top
CONF = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "conf"
_TRUSTED = [CONF]  # folders whose files may name what is imported

TRACED = {  # field of Hyper → key of the configuration
    "learning_rate": "optimizer.learning_rate",
    "weight_decay": "optimizer.weight_decay",
    "regularization": "model.regularization",
    "width": "model.embedding_dim",
    "n_negatives": "negatives.ratio",
    "unobserved_weight": "model.unobserved_weight",
    "shrinkage": "model.shrinkage",
    "n_neighbors": "model.k",
    "dropout": "model.dropout",
    "temperature": "model.temperature",
}
_TOP: dict[str, TypeAdapter] = {
    "seed": TypeAdapter(NonNegativeInt),
    "refit": TypeAdapter(bool),
}
OF_COMMAND = ("hydra", "defaults", "overwrite")  # keys of a config.yaml that belong to the command, not to the run
# These set the size of an array: the population's largest is built, and a mask makes the rest smaller.
PADDED = {"width", "n_negatives", "n_neighbors"}


def check(tree: Tree) -> None:
    """Raises an InputError that names the first key that is unknown, of a wrong type, or out of range."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            if "_target_" in value:
                _check_node(value, key)
        elif key in _TOP:
            check_value(_TOP[key], value, key)
        else:
            raise InputError(f"{key} is unknown; a run has {', '.join(k for k in tree if k != key)}")
    if {"model", "trainer", "loss"} <= tree.keys():
        _check_parts(tree)
    if {"data", "split", "loss", "eval"} <= tree.keys():
        check_combinations(tree)


def build(node: Tree, **runtime: Any) -> Any:
    """Calls the node's target with the node's arguments and those `runtime` ones that it takes.

    `_partial_: true` gives the function with these arguments instead of its result.
    """
    target = locate(node["_target_"])
    arguments = {key: _build_value(value) for key, value in node.items() if not key.startswith("_")}
    takes = inspect.signature(target).parameters
    arguments |= {key: value for key, value in runtime.items() if key in takes}
    return functools.partial(target, **arguments) if node.get("_partial_") else target(**arguments)


def call(path: str, tree: Tree) -> Any:
    """Calls a target with a script's own keys, each checked against its annotation."""
    adapters = _signature(path)[1]
    for key, value in tree.items():
        check_value(adapters[key], value, key)
    return locate(path)(**tree)


def give(found: Any) -> str:
    """The dotted path by which `locate` finds this function or class from now on, wherever it was defined."""
    path = f"{found.__module__}.{found.__qualname__}"
    GIVEN[path] = found
    _signature.cache_clear()  # a notebook may define a class of the same name again
    return path


def register(folder: Path) -> None:
    """Trusts a folder of one's own settings, laid out as conf/: what its files name may be built from other files too.

    `--config-dir FOLDER` does so for a command.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of settings: name one with files such as model/my_model.yaml")
    if folder not in _TRUSTED:
        _TRUSTED.append(folder)
        registered.cache_clear()


@functools.cache
def registered(group: str = "") -> frozenset[str]:
    """What conf/ and registered folders name to be imported, all of it or that of a group such as `model`."""
    files = [file for folder in _TRUSTED for file in sorted((folder / group).rglob("*.yaml"))]
    return frozenset(path for file in files for path in targets(read(file)))


def read(file: Path) -> Any:
    """What a YAML file holds; raises InputError where it cannot be read."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise InputError(f"{file} cannot be read: {' '.join(str(error).split())}") from error


def targets(node: Any) -> Iterator[str]:
    """Every dotted path of a tree that is imported, however deep: each `_target_`, and metrics of one's own."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        if isinstance(names := node.get("metrics"), list | tuple):
            yield from (path for name in names if "." in (path := str(name).partition("(")[0].strip()))
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            yield from targets(value)


def check_registered(tree: Any, file: Path) -> None:
    """Raises an InputError where a file that was read back names something to build that conf/ does not name."""
    for path in targets(up_to_date(tree)):
        if path not in registered():
            raise InputError(
                f"{file} has _target_: {path}, which conf/ does not name: nothing of that file is run. If it is your "
                "own, name it in a file of a folder of yours, FOLDER/model/my_model.yaml, and add --config-dir FOLDER"
            )


def populations(trees: Sequence[Tree]) -> Iterator[tuple[list[int], Tree, Population]]:
    """Groups configurations that one program can train: positions in `trees`, what they share, what they differ in."""
    groups: dict[str, list[int]] = {}
    for position, tree in enumerate(trees):
        groups.setdefault(_program(tree), []).append(position)
    for positions in groups.values():
        yield positions, *_population([trees[position] for position in positions])


def get(tree: Tree, key: str, default: Any = None) -> Any:
    """The value at a dotted key."""
    for name in key.split("."):
        if not isinstance(tree, Mapping) or name not in tree:
            return default
        tree = tree[name]
    return tree


def put(tree: Tree, values: Mapping[str, Any]) -> Tree:
    """A copy with the values at these dotted keys, which must be there already."""
    tree = copy.deepcopy(tree)
    for key, value in values.items():
        *path, name = key.split(".")
        node = functools.reduce(lambda node, part: node[part], path, tree)
        if name not in node:
            raise InputError(f"{key} is no setting of this run; {'.'.join(path)} has {', '.join(node)}")
        node[name] = value
    return tree


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key → value of every leaf."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves


def is_traced(tree: Tree, field: str) -> bool:
    """Whether this run has the number, and its program takes it as an argument."""
    key = TRACED[field]
    if get(tree, key) is None:
        return False
    if key.startswith("model."):
        return field in {f.name for f in dataclasses.fields(locate(tree["model"]["_target_"]))}
    return True


def _program(tree: Tree) -> str:
    """What two runs must have in common to be members of one population."""
    traced = {TRACED[field]: None for field in TRACED if is_traced(tree, field)} | dict.fromkeys(_others(tree))
    return json.dumps({**put(tree, traced), "seed": None}, sort_keys=True, default=str)


def _population(trees: Sequence[Tree]) -> tuple[Tree, Population]:
    def numbers(field: str) -> Any:
        if field in Hyper._field_defaults and not is_traced(trees[0], field):
            return None  # there is no such number, or the model does without
        values = [get(tree, TRACED[field], 0) for tree in trees]
        return np.array([value or 0 for value in values], np.int32 if field in PADDED else np.float32)

    # Numbers in which the members agree stay constants of the program.
    others: dict[str, Any] = {
        key: np.array(values, kind)
        for key, kind in _others(trees[0]).items()
        if len(set(values := [get(tree, key) for tree in trees])) > 1
    }
    hyper = Hyper(**{field: numbers(field) for field in TRACED}, others=others)
    widest = {TRACED[field]: int(getattr(hyper, field).max()) for field in PADDED if is_traced(trees[0], field)}
    return put(trees[0], widest), Population(np.array([tree["seed"] for tree in trees]), hyper)


def _others(tree: Tree) -> dict[str, type[np.generic]]:
    """Key → type of every number that an annotation declares as traced and `TRACED` does not name."""

    def found(node: Any, path: str) -> Iterator[tuple[str, type[np.generic]]]:
        if not isinstance(node, Mapping):
            return
        declared = _traced(node["_target_"]) if "_target_" in node else {}
        for name, value in node.items():
            key = f"{path}.{name}"
            if name in declared and key not in TRACED.values() and type(value) in (int, float):
                yield key, declared[name]
            yield from found(value, key)

    groups = ("model", "loss", "negatives", "optimizer")
    return {key: kind for group in groups for key, kind in found(tree.get(group), group)}


@functools.cache
def _traced(target: str) -> dict[str, type[np.generic]]:
    """Arguments of a target that are annotated `float | Traced` or `int | Traced`, and what holds their numbers."""
    hints = get_type_hints(locate(target))
    arrays = {name: hint for name, hint in hints.items() if any(hasattr(kind, "dtypes") for kind in get_args(hint))}
    return {name: np.float32 if float in get_args(hint) else np.int32 for name, hint in arrays.items()}


def _build_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build(dict(value))
        return {key: _build_value(item) for key, item in value.items()}
    return tuple(_build_value(item) for item in value) if isinstance(value, list | tuple) else value


def _check_parts(tree: Tree) -> None:
    """Raises an InputError for a model, a trainer, a loss and an optimizer that do not go together."""
    model, trainer, loss = (str(tree[part].get("_target_", "")) for part in ("model", "trainer", "loss"))
    name, model_class = model.rpartition(".")[2], locate(model)
    descends = "objective" in _signature(trainer)[0]
    if not (isinstance(model_class, type) and issubclass(model_class, Model)):
        raise InputError(f"model._target_: {model} does not derive from jaxrec.models.Model: write class {name}(Model)")
    kinds: dict[str, type[Model]] = {"ClosedForm": Solved, "AlternatingFit": Alternating}
    if not issubclass(model_class, kinds.get(trainer.rpartition(".")[2], Model)):
        raise InputError(f"trainer={trainer.rpartition('.')[2]} cannot train {name}: write trainer=gradient")
    if descends and issubclass(model_class, Solved | Alternating):
        right = "closed_form" if issubclass(model_class, Solved) else "alternating"
        raise InputError(f"{name} is solved, not trained by gradient: write trainer={right}")
    if loss and not descends:
        raise InputError(
            f"{name} is trained without a loss, so {loss.rpartition('.')[2]} cannot be its loss: leave loss=... out "
            "(loss=none), or choose a model that learns from one, such as model=mf"
        )
    if descends and not loss:
        raise InputError(f"{name} learns from a loss and there is none: write one, such as loss=bpr")
    if descends and "_target_" not in tree["optimizer"]:
        raise InputError(f"{name} needs an optimizer and there is none: write one, such as optimizer=adam")
    sampler = tree.get("negatives", {}).get("_target_")
    if loss.endswith(".SampledObjective") and sampler is None:
        raise InputError("this loss samples negatives and there are none: write some, such as negatives=uniform")
    if sampler is not None and isinstance(kind := locate(sampler), type) and not issubclass(kind, Sampler):
        raise InputError(
            f"negatives._target_: {sampler} does not derive from jaxrec.negatives.sampler.Sampler: write class "
            f"{kind.__name__}(Sampler)"
        )


def _check_node(node: Mapping[str, Any], path: str) -> None:
    parameters, adapters = _signature(node["_target_"])
    for key, value in node.items():
        if key.startswith("_"):
            continue
        if key not in parameters:
            raise InputError(
                f"{path}.{key} is unknown; {path} takes {', '.join(k for k in parameters)}: ~{path}.{key} leaves it out"
            )
        if isinstance(value, Mapping) and "_target_" in value:
            _check_node(value, f"{path}.{key}")
        elif key in adapters:
            check_value(adapters[key], value, f"{path}.{key}")
    _check_together(node)


def _check_together(node: Mapping[str, Any]) -> None:
    """What the target itself says of its arguments: by `checked_by`, or by being built, where it is a dataclass."""
    target = locate(node["_target_"])
    own = {key: value for key, value in node.items() if not key.startswith("_")}
    if check := getattr(target, "check_arguments", None):
        check(**{key: value for key, value in own.items() if key in inspect.signature(check).parameters})
    needs = [p.name for p in inspect.signature(target).parameters.values() if p.default is p.empty]
    # A module is built once the data is read, whose sizes it needs.
    is_module = isinstance(target, type) and issubclass(target, nn.Module)
    if dataclasses.is_dataclass(target) and not is_module and set(needs) <= own.keys():
        build(dict(node))


def _without_arrays(hint: Any) -> Any:
    """`float | Float[Array, ""]` as a file sees it: a number that the program traces."""
    kinds = [kind for kind in get_args(hint) if not hasattr(kind, "dtypes")]
    is_union = get_origin(hint) in (Union, types.UnionType)
    return Union[tuple(kinds)] if is_union else hint  # noqa: UP007


@functools.cache
def _signature(target: str) -> tuple[tuple[str, ...], dict[str, TypeAdapter]]:
    """Names of a target's arguments, and what checks those whose types a YAML file can hold."""
    found = locate(target)
    hints = get_type_hints(found, include_extras=True)
    adapters = {}
    for name in inspect.signature(found).parameters:
        try:
            adapters[name] = TypeAdapter(_without_arrays(hints[name]))
        except (KeyError, PydanticSchemaGenerationError, PydanticUserError):
            continue  # an array, a module: given at run time, never by a file
    is_module = isinstance(found, type) and issubclass(found, nn.Module)
    hidden = {"parent", "name"} if is_module else set()  # what linen adds to every module
    return tuple(name for name in inspect.signature(found).parameters if name not in hidden), adapters
