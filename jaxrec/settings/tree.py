"""Trees of settings: plain dicts by group and key, whose values have dotted keys."""

import copy
import functools
from collections.abc import Mapping
from typing import Any

from jaxrec.errors import InputError

Tree = dict[str, Any]


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


def target_name(node: Mapping[str, object]) -> str:
    """Return the name of the class or function of a node, without its module."""
    return str(node.get("_target_", "")).rpartition(".")[2]


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
