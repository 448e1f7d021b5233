"""Validation of settings against the annotations and checks of their targets, before any data is read."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
from pydantic import NonNegativeInt, TypeAdapter

from jaxrec.arguments import check_value, locate
from jaxrec.errors import InputError
from jaxrec.settings.building import build, signature
from jaxrec.settings.combinations import check_combinations, check_parts, check_training
from jaxrec.settings.schedule import SCHEDULE, steps_of
from jaxrec.settings.shared_programs import program_of_schedule
from jaxrec.settings.tree import Tree, get

_TOP: dict[str, TypeAdapter] = {
    "seed": TypeAdapter(NonNegativeInt),
    "refit": TypeAdapter(bool),
}

PARTS = ("model", "trainer", "loss", "negatives", "optimizer")


def check(tree: Tree) -> None:
    """Raise an InputError for the first key that is unknown, of the wrong type, or out of range."""
    is_trained = {"model", "trainer", "loss"} <= tree.keys()
    # First, because files of losses and models also set keys of the trainer, which another trainer does not take.
    if is_trained and all(isinstance(tree.get(part, {}), Mapping) for part in PARTS):
        check_training(tree)
    for key, value in tree.items():
        if isinstance(value, Mapping):
            if "_target_" in value:
                _check_node(value, key)
        elif key in _TOP:
            check_value(_TOP[key], value, key)
        else:
            raise InputError(f"{key} is unknown; available: {', '.join(k for k in tree if k != key)}")
    if is_trained:
        check_parts(tree)
        if get(tree, SCHEDULE):
            for step in steps_of(tree).values():
                check(step)
            program_of_schedule(tree)
    if {"data", "split", "model", "loss", "eval"} <= tree.keys():
        check_combinations(tree)


def _check_node(node: Mapping[str, object], path: str) -> None:
    if not isinstance(node["_target_"], str):
        raise InputError(f"{path}._target_={node['_target_']!r}: must be the dotted path of a class or function")
    parameters, adapters = signature(node["_target_"])
    for key, value in node.items():
        if key.startswith("_"):
            continue
        if key not in parameters:
            remove = f"~{path}.{key}" if value is not None else f"{path}.{key}=0 ~{path}.{key}"  # Hydra removes no null
            raise InputError(
                f"{path}.{key} is unknown; {path} takes {', '.join(parameters) or 'no settings'}: {remove} removes it"
            )
        if isinstance(value, Mapping) and "_target_" in value:
            _check_node(value, f"{path}.{key}")
        elif key in adapters:
            check_value(adapters[key], value, f"{path}.{key}")
    _check_together(node, path)


def _check_together(node: Mapping[str, Any], path: str) -> None:
    """Run the target's own checks of its arguments: `checked_by`, or the construction of a dataclass."""
    target = locate(node["_target_"])
    own = {key: value for key, value in node.items() if not key.startswith("_")}
    if check := getattr(target, "check_arguments", None):
        takes = inspect.signature(check).parameters
        if missing := [key for key, each in takes.items() if each.default is each.empty and key not in own]:
            raise InputError(f"{path}.{missing[0]} is missing: set it")
        check(**{key: value for key, value in own.items() if key in takes})
    needs = [p.name for p in inspect.signature(target).parameters.values() if p.default is p.empty]
    # A module can only be built after the data is read, because it needs its sizes.
    is_module = isinstance(target, type) and issubclass(target, nn.Module)
    if dataclasses.is_dataclass(target) and not is_module and set(needs) <= own.keys():
        build(dict(node))
