"""The run directory: what a run leaves behind, written so that half of one cannot be mistaken for the whole."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from jaxrec.checkpoint import save_params, write_atomic, write_json, write_text
from jaxrec.command_line import command
from jaxrec.data import item_labels
from jaxrec.data.ages import ages
from jaxrec.data.histories import histories
from jaxrec.data.stored_features import stored
from jaxrec.errors import InputError
from jaxrec.experiment import Result
from jaxrec.features import wanted
from jaxrec.models.fold_in import fields
from jaxrec.report.report import run_report
from jaxrec.settings import Tree

_HYDRA = """
hydra:
  run: {dir: "outputs/runs/repeat-${now:%Y%m%d-%H%M%S-%f}"}
  output_subdir: null
defaults:
  - _self_
  - override hydra/sweeper: jaxrec
  - override hydra/job_logging: disabled
  - override hydra/hydra_logging: disabled
"""


def make(directory: Path) -> Path:
    """The folder, created and seen to be writable before any work starts."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to {directory}: {error.strerror or error}; choose another hydra.run.dir or hydra.sweep.dir"
        ) from error
    return directory


def check_empty(directory: Path, overwrite: bool, kind: str = "run") -> None:
    """Raises an InputError where results would be overwritten, without `overwrite`.

    A directory that holds no finished run, grid or search is free, whatever else is in it; a search may go on in its
    own.
    """
    marks = {"metrics.json": "a run", "runs.csv": "a grid", "journal.log": "a search"}
    found = [what for mark, what in marks.items() if (directory / mark).exists() and what != f"a {kind}"]
    own = kind != "search" and any((directory / mark).exists() for mark, what in marks.items() if what == f"a {kind}")
    if (found or own) and not overwrite:
        what, key = (found or [f"a {kind}"])[0], "run" if kind == "run" else "sweep"
        raise InputError(
            f"{directory} holds {what} already: choose another hydra.{key}.dir, or overwrite it with overwrite=true"
        )


def write(directory: Path, tree: Tree, result: Result) -> None:
    """Writes the run; `metrics.json` comes last, so a directory that has it is complete."""
    make(directory)
    write_text(directory / "config.yaml", config_text(directory, tree))
    save_params(
        directory / "model",
        result.params,
        extra={
            "module": _module(result),
            "user_ids": result.known.user_ids,
            "item_ids": result.known.item_ids,
            **{f"known_{name}": column for name, column in histories(result.known)._asdict().items()},
            **_features(result),
            "ages": ages(result.known),
            **({} if result.trained is None else {f"trained_{k}": v for k, v in result.trained._asdict().items()}),
            **item_labels.stored(item_labels.labels(result.known.item_features)),
        },
    )
    write_atomic(directory / "per_user.parquet", lambda path: result.per_user.to_parquet(path, index=False))
    write_atomic(directory / "history.csv", lambda path: result.history.to_csv(path, index=False))
    write_text(directory / "report.html", run_report(directory.name, tree, result))
    write_json(directory / "metrics.json", result.metrics)


def config_text(directory: Path, tree: Tree) -> str:
    """The resolved configuration as YAML that trains the same run again."""
    again = command("train", "--config-path", str(directory.resolve()), "--config-name", "config")
    body = yaml.safe_dump(json.loads(json.dumps({**tree, "overwrite": False})), sort_keys=False, allow_unicode=True)
    return f"# To train the same run again:\n#   {again}\n{body}{_HYDRA}"


def _features(result: Result) -> dict[str, Any]:
    """Of users and items, for a model that has fields for them."""
    encoded = result.known.encoded
    return stored(encoded) if encoded is not None and wanted(result.model) else {}


def _module(result: Result) -> dict[str, Any]:
    """What builds the model again: its class and its fields, the member's own numbers among them."""
    own = fields(result.model)
    given = {name: x for name, x in result.hyper._asdict().items() if name in own and x is not None}
    given |= result.hyper.of("model")
    numbers = {name: np.asarray(value).item() for name, value in given.items()}
    return {"_target_": f"{type(result.model).__module__}.{type(result.model).__qualname__}", **own, **numbers}
