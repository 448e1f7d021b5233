"""Fuzzing of settings, overrides and search spaces: an InputError that names the key, or settings that can be used."""

import functools
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import strategies as st
from optuna.distributions import check_distribution_compatibility

from jaxrec import config, settings
from jaxrec.cli import dimensions
from jaxrec.command_line import override, unescaped
from jaxrec.errors import InputError
from jaxrec.settings import Tree
from jaxrec.sweep.space import distributions, grid, n_points, reaching, space_from_yaml, space_to_plain
from tests.fuzz.target import Target, one_line
from tests.fuzz.values import TEXTS, cells, scalars, trees

MODELS = ("mf", "sasrec", "ease", "dlrm")


@functools.cache
def composed(model: str) -> Tree:
    """The settings of a model."""
    return config.compose([f"model={model}"])


@functools.cache
def keys(model: str) -> list[str]:
    """Keys of leaves and of groups."""
    flat = list(settings.flat(composed(model)))
    return [*flat, *dict.fromkeys(key.rpartition(".")[0] for key in flat if "." in key)]


@st.composite
def changed(draw: st.DrawFn) -> tuple[str, list[tuple[str, str, Any]]]:
    """A model, and changes of its settings."""
    model = draw(st.sampled_from(MODELS))
    kinds = st.sampled_from(["set", "set", "remove", "add"])
    return model, draw(
        st.lists(st.tuples(kinds, st.sampled_from(keys(model)), trees | scalars), min_size=1, max_size=2)
    )


def check_settings(found: tuple[str, list[tuple[str, str, Any]]]) -> None:
    """Settings that pass the check belong to one program each."""
    model, changes = found
    tree = composed(model)
    for kind, key, value in changes:
        *path, name = key.split(".")
        tree = yaml.safe_load(yaml.safe_dump(_lists(tree)))
        node = tree
        for part in path:
            node = node.get(part, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            match kind:
                case "set":
                    node[name] = value
                case "remove":
                    node.pop(name, None)
                case "add":
                    node[f"{name}_"] = value
    tree = settings.tuples(tree)
    try:
        settings.check(tree)
    except InputError as error:
        one_line(error)
        return
    if {"model", "trainer", "loss", "negatives", "optimizer", "seed"} <= tree.keys():
        ((places, _, population),) = settings.populations([tree])
        assert (places, population.size) == ([0], 1)


def _lists(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _lists(value) for key, value in node.items()}
    return [_lists(value) for value in node] if isinstance(node, list | tuple) else node


texts = st.sampled_from(
    [*TEXTS, "choice(", ")", "interval(", "range(", "tag(log,", "1e-3", "1", ",", "[", "]", "{", "}"]
)
lines = st.builds("x={}".format, st.lists(texts | cells, max_size=6).map("".join))


def check_override(line: str) -> None:
    """An override is refused by Hydra or in one line, or is a dimension; what `override` writes is read as it was."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides([line])
        if dimensions.is_dimension(parsed):
            space_from_yaml({"x": dimensions.dimension(parsed)})
    except (HydraException, InputError):
        pass
    text = line.removeprefix("x=")
    if "\0" not in text:  # which a command line cannot hold
        (again,) = OverridesParser.create().parse_overrides([override("x", text)])
        assert unescaped(again.value()) == text


condition = st.dictionaries(st.sampled_from("abc"), st.lists(scalars, max_size=2), max_size=2)
numbers = st.sampled_from([0, 1, 2, 8, 10**9, 10**30, -1, 0.1, 1e-9, 1e-300, 1e308, 0.3]) | st.integers() | st.floats()
dimension = st.fixed_dictionaries(
    {},
    optional={
        "low": numbers | scalars,
        "high": numbers | scalars,
        "log": st.booleans() | scalars,
        "integer": st.booleans() | scalars,
        "step": numbers | st.none(),
        "choices": st.lists(scalars, max_size=4) | scalars,
        "when": st.none()
        | st.dictionaries(st.sampled_from("abc"), st.lists(scalars, max_size=2), max_size=2)
        | scalars,
    },
)
interval = st.fixed_dictionaries(
    {"low": numbers, "high": numbers}, optional={"integer": st.booleans(), "log": st.booleans(), "step": numbers}
)
spaces = st.dictionaries(st.sampled_from("abc"), interval | dimension | trees, max_size=3) | trees


def check_space(found: Any) -> None:
    """A space is refused, or has distributions, comes back from a study, and has a grid of bounded size."""
    try:
        space = space_from_yaml(found)
    except InputError:
        return
    of_space = distributions(space)
    again = distributions(space_from_yaml(space_to_plain(space)))
    assert of_space.keys() == again.keys()
    for key, each in of_space.items():
        check_distribution_compatibility(each, again[key])
        reaching(space, key)
        assert all(space[key].contains(value) for value in space[key].extremes()[:1])
    assert n_points(space) > 0
    try:
        grid(space)
    except InputError:
        return


SETTINGS = Target(changed(), check_settings)
OVERRIDES = Target(lines, check_override)
SPACES = Target(spaces, check_space)
