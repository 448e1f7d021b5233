"""Composition of the combinations of a grid."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hydra.errors import HydraException
from omegaconf import DictConfig

from jaxrec.config import explain, plain, unknown_key
from jaxrec.console import say
from jaxrec.errors import InputError
from jaxrec.settings import Tree, with_seeds


class Combination(NamedTuple):
    """A composed combination of a grid.

    Attributes:
        tree: its configuration
        varied: overrides in which it differs from others
        lines: all overrides, without those of settings that it does not have
    """

    tree: Tree
    varied: list[str]
    lines: list[str]


def compose_grid(
    load: Callable[[Sequence[str]], DictConfig], fixed: Sequence[str], combinations: list[list[str]]
) -> list[Combination]:
    """Compose every combination; settings that a combination does not have are dropped from it.

    Raises:
        InputError: no combination has the setting.
    """
    composed: list[Combination] = []
    left_out: dict[str, list[str]] = {}
    applied: set[str] = set()
    errors: dict[str, str] = {}
    for combination in combinations:
        always, varied = list(fixed), list(combination)
        while True:
            try:
                tree = plain(load([*always, *varied]))
                break
            except HydraException as error:
                key = unknown_key(error)
                gone = [text for text in (*always, *varied) if key and text.split("=", 1)[0] == key]
                if not gone or len(combinations) == 1:
                    raise
                errors[key or ""] = explain(error)
                left_out.setdefault(gone[0] if gone[0] in always else str(key), []).append(" ".join(combination))
                always, varied = ([text for text in part if text not in gone] for part in (always, varied))
        applied |= {text.split("=", 1)[0] for text in (*always, *varied)}
        if not any(each.tree == tree and each.varied == varied for each in composed):
            composed.append(Combination(tree, varied, [*always, *varied]))
    for key, message in errors.items():
        if key not in applied:
            raise InputError(message)
    for text, names in left_out.items():
        say(f"{text} is ignored where the setting does not exist: {'; '.join(dict.fromkeys(names))}")
    return composed


def with_seed_overrides(combinations: Sequence[tuple[Tree, list[str]]], seeds: int) -> list[tuple[Tree, list[str]]]:
    """Return every combination with each seed, as a setting and an override; those without random numbers once."""
    return [
        (each, [*overrides, f"seed={each['seed']}"] if len(replicas) > 1 else overrides)
        for tree, overrides in combinations
        for replicas in [with_seeds(tree, seeds)]
        for each in replicas
    ]
