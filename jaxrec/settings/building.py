"""Construction of the objects that settings name: a node has `_target_`, a class or function, and its arguments."""

import functools
import inspect
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import flax.linen as nn
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

from jaxrec.arguments import REGISTERED, check_value, locate
from jaxrec.hyper import has_array, parts_of
from jaxrec.settings.tree import Tree


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
    adapters = signature(path)[1]
    for key, value in tree.items():
        check_value(adapters[key], value, key)
    return locate(path)(**tree)


def register_object(target: Any) -> str:
    """Register a function or class with `locate`, wherever it was defined; return its dotted path."""
    path = f"{target.__module__}.{target.__qualname__}".replace("<locals>.", "")
    REGISTERED[path] = target
    for cached in (signature, _floats):
        cached.cache_clear()  # a notebook may redefine a class of the same name
    return path


@functools.cache
def signature(target: str) -> tuple[tuple[str, ...], dict[str, TypeAdapter]]:
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


def _without_arrays(hint: Any) -> Any:
    """Return the hint without array types: `float | Float[Array, ""]` is a float in a file."""
    is_union = get_origin(hint) in (Union, types.UnionType)
    return Union[tuple(kind for kind in get_args(hint) if not has_array(kind))] if is_union else hint  # noqa: UP007
