"""Files of settings, and the import targets that they may name."""

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from jaxrec.errors import InputError
from jaxrec.settings.renamed import up_to_date
from jaxrec.settings.tree import Tree, flat, target_name, tuples

_PACKAGED = Path(__file__).parent.parent / "conf"  # in the wheel; a checkout has it at the top level
CONF = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"
_TRUSTED = [CONF]  # folders whose files may name import targets

# Keys of a config.yaml that belong to the command, not to the run.
COMMAND_KEYS = ("hydra", "defaults", "overwrite", "resume", "seeds", "cluster")


def read(file: Path) -> Any:
    """Read a YAML file; raise InputError if it cannot be read."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise InputError(f"{file} cannot be read: {' '.join(str(error).split())}") from error


def register(folder: Path) -> None:
    """Trust a user folder with the layout of conf/: targets named in its files may be built.

    `--config-dir FOLDER` does this for a command.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: pass a folder of settings with files such as model/my_model.yaml")
    if not os.access(folder, os.R_OK | os.X_OK):  # its settings would be left out without a word
        raise InputError(f"{folder} cannot be read: permission denied")
    if folder not in _TRUSTED:
        _TRUSTED.append(folder)
        registered.cache_clear()


@functools.cache
def registered(group: str = "") -> frozenset[str]:
    """Return the targets named in conf/ and registered folders, of all groups or of one, e.g. `model`."""
    files = [file for folder in _TRUSTED for file in sorted((folder / group).rglob("*.yaml"))]
    return frozenset(path for file in files for path in import_targets(read(file)))


def choice_of(group: str, node: Tree) -> str:
    """Return the name of the choice of a group with these settings, e.g. negatives=batch_shared.

    Of several with the same targets, it is the one with the most equal values; without one, the name of the class.
    """
    leaves = flat(tuples(node))
    same = [
        (name, values) for name, values in _choices(group) if set(import_targets(values)) == set(import_targets(node))
    ]
    if not same:
        return target_name(node)
    return max(same, key=lambda choice: sum(leaves.get(k) == v for k, v in flat(tuples(choice[1])).items()))[0]


@functools.cache
def _choices(group: str) -> list[tuple[str, Tree]]:
    """Names and settings of the files of a group in conf/."""
    contents = [(file.stem, read(file)) for file in sorted((CONF / group).glob("*.yaml"))]
    return [(name, content if "_target_" in content else content.get(group, content)) for name, content in contents]


def import_targets(node: object) -> Iterator[str]:
    """Yield every dotted path of a tree that would be imported: each `_target_`, and user-defined metrics."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for names in (node.get("metrics"), node.get("test_metrics")):
            if isinstance(names, list | tuple):
                yield from (path for name in names if "." in (path := str(name).partition("(")[0].strip()))
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            yield from import_targets(value)


def check_registered(tree: Tree, file: Path) -> None:
    """Raise an InputError if a file names a target that neither conf/ nor a registered folder names."""
    for path in import_targets(up_to_date(tree)):
        if path not in registered():
            raise InputError(
                f"{file} has _target_: {path}, which conf/ does not name, so the file is not run. If the target is "
                "yours, name it in your own settings, FOLDER/model/my_model.yaml, and add --config-dir FOLDER"
            )
