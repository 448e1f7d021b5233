"""Choices that a search brings: a file of conf/sweep names the model and the other choices that its space is for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from jaxrec.cli.dimensions import Dimension
from jaxrec.cli.options import path_options
from jaxrec.command_line import override
from jaxrec.errors import InputError
from jaxrec.settings import CONF, Tree, read

Tunes = Mapping[str, str | Sequence[str]]  # allowed choices by group, e.g. {"model": "ease"}


def first_choices(tunes: Tunes) -> dict[str, str]:
    """Return the default choice of every group: of a list, the first."""
    return {group: names if isinstance(names, str) else names[0] for group, names in tunes.items()}


def with_tuned_choices(options: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return the overrides with the choices that `sweep=NAME` brings, so that their settings can be overridden, too.

    Choices of the command line and the model of an experiment stay; `check_tuned_choices` compares them.
    """
    chosen = dict(text.split("=", 1) for text in overrides if "=" in text)
    if not {"-m", "--multirun"} & set(options) or not (name := chosen.get("sweep", "")):
        return list(overrides)
    folders = [Path(folder) for folder in (path_options(options).config_dir, CONF) if folder]
    stays = {*chosen, *({"model"} if _sets_model(_content(folders, "experiment", chosen.get("experiment"))) else ())}
    first = first_choices(_content(folders, "sweep", name).get("tunes", {}))
    return [*overrides, *(override(group, choice) for group, choice in first.items() if group not in stays)]


def _content(folders: Sequence[Path], group: str, name: str | None) -> Tree:
    """Return the content of the file of a choice; empty if there is none, which Hydra reports."""
    file = next((path for folder in folders if (path := folder / group / f"{name}.yaml").is_file()), None)
    content = None if file is None else read(file)
    return content if isinstance(content, dict) else {}


def _sets_model(experiment: Tree) -> bool:
    return any(isinstance(entry, dict) and "override /model" in entry for entry in experiment.get("defaults", ()))


def check_tuned_choices(
    cfg: DictConfig, tunes: Tunes, fixed: Sequence[Override], typed: Mapping[str, Dimension]
) -> None:
    """Raise an InputError if an override or an experiment contradicts the choices that a search brings.

    Args:
        cfg: the composed configuration.
        tunes: allowed choices.
        fixed: overrides of the command line with one value.
        typed: search dimensions of the command line.
    """
    choices = cfg.hydra.runtime.choices
    for group, names in tunes.items():
        allowed = (names,) if isinstance(names, str) else names
        by_hand = [str(o.input_line) for o in fixed if o.key_or_group == group]
        if group in typed:
            choices_typed = typed[group].get("choices")
            wrong = set(choices_typed if isinstance(choices_typed, list) else ()) - set(allowed)
            source = f"the search over {group}"
        else:
            wrong = {choices[group]} - set(allowed)
            source = by_hand[0] if by_hand else f"{group}={choices[group]} of experiment={choices.get('experiment')}"
        if wrong:
            brought = [f"{group}={name}" for name in allowed]
            others = f"set {' or '.join(brought)}, or another sweep=NAME for {group}={min(map(str, wrong))}"
            raise InputError(f"sweep={choices.sweep} tunes {','.join(brought)}, which contradicts {source}: {others}")
