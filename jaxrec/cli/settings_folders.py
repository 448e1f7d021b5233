"""Folders of settings on a command line: --config-dir and --config-path.

A --config-dir belongs to the user and is trusted. A --config-path may be a run of someone else: its files may choose
settings, and nothing more. Beyond settings, a configuration of Hydra can name callbacks and launchers, add further
folders, set environment variables, and read them.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxrec.cli.options import path_options
from jaxrec.errors import InputError
from jaxrec.settings import check_registered, read, register

HYDRA_KEYS = {"run", "sweep", "output_subdir"}
OVERRIDES = ("hydra/sweeper: jaxrec", "hydra/job_logging: disabled", "hydra/hydra_logging: disabled")
INTERPOLATION = re.compile(r"\$\{(?:now:[^${}]*|[\w.@]+)\}")  # the time, or another setting


def check_folders(arguments: Sequence[str]) -> None:
    """Check the files of --config-path, e.g. of a run, before Hydra reads them; a --config-dir is trusted."""
    options = path_options(arguments)
    if options.config_dir:
        register(Path(options.config_dir))
    if options.config_path:
        check_config_path(Path(options.config_path))


def check_config_path(folder: Path) -> None:
    """Raise an InputError for a file that does more than choosing settings."""
    for file in _files(folder):
        tree = read(file)
        if re.search(r"^\s*#\s*@package", file.read_text(encoding="utf-8"), re.MULTILINE):
            raise InputError(f"{file} has a @package, which files of --config-path must not have: use --config-dir")
        check_registered(tree, file)
        if not isinstance(tree, dict):
            continue
        if wrong := [key for key in tree.get("hydra") or {} if key not in HYDRA_KEYS]:
            raise InputError(f"{file} sets hydra.{wrong[0]}, which files of --config-path must not: use --config-dir")
        for entry in tree.get("defaults") or ():
            text = str(entry) if not isinstance(entry, dict) else ", ".join(f"{key}: {entry[key]}" for key in entry)
            if ("hydra" in text or "@" in text) and text.removeprefix("override ") not in OVERRIDES:
                raise InputError(f"{file} has the default {text}, which files of --config-path must not have")
        for text in _texts(tree):
            if re.sub(r"\\\$\{", "", text).count("${") != len(INTERPOLATION.findall(re.sub(r"\\\$\{", "", text))):
                raise InputError(f"{file} has {text!r}: files of --config-path may only refer to other settings")


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files that Hydra would read, also those in linked folders."""
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        if (real := Path(root).resolve()) in seen:  # links may form a circle
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(root) / name for name in sorted(names) if name.endswith(".yaml"))


def _texts(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for each in node.values() if isinstance(node, dict) else node:
            yield from _texts(each)
