"""The run directory: what a run leaves behind, written so that half of one cannot be mistaken for the whole."""

import json
from pathlib import Path
from typing import Any

import yaml

from jaxrec.checkpoint import save_params, write_atomic, write_json, write_text
from jaxrec.command_line import command, escaped, override, unescaped
from jaxrec.data import item_labels
from jaxrec.data.histories import histories
from jaxrec.data.item_age import ages
from jaxrec.data.stored_features import stored
from jaxrec.errors import InputError
from jaxrec.experiment import Result
from jaxrec.features import wanted
from jaxrec.recommend import stored_model
from jaxrec.renamed import up_to_date
from jaxrec.report.report import run_report
from jaxrec.settings import OF_COMMAND, Tree, read
from jaxrec.sweep.storage import FileLock, read_journal

STUDY_FILE = "study.txt"  # names the study whose results a sweep directory holds

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
    own, see `claim`.
    """
    marks = {"metrics.json": "a run", "runs.csv": "a grid", "journal.log": "a search", STUDY_FILE: "a search"}
    found = [what for mark, what in marks.items() if (directory / mark).exists() and what != f"a {kind}"]
    own = kind != "search" and any((directory / mark).exists() for mark, what in marks.items() if what == f"a {kind}")
    if (found or own) and not overwrite:
        what, key = (found or [f"a {kind}"])[0], "run" if kind == "run" else "sweep"
        raise InputError(
            f"{directory} holds {what} already: choose another hydra.{key}.dir, or overwrite it with overwrite=true"
        )


def check_study(directory: Path, study: str, overwrite: bool) -> None:
    """Raises an InputError where the sweep directory holds another study, without `overwrite`."""
    file, journal = directory / STUDY_FILE, directory / "journal.log"
    if file.exists():
        held = [file.read_text(encoding="utf-8").strip()]
    else:  # a search of jaxrec 0.1.0, whose journal alone names it
        held = [found.study_name for found in read_journal(journal).get_all_studies()] if journal.exists() else []
    if held and study not in held and not overwrite:
        raise InputError(
            f"{directory} holds the study {held[0]} already: choose another hydra.sweep.dir, go on with that one by "
            f"{override('sweep.study_name', held[0])}, or overwrite its results with overwrite=true"
        )


def claim(directory: Path, study: str, overwrite: bool) -> None:
    """Makes the sweep directory that of this study, so that no other writes its results there; see `check_study`."""
    with FileLock(directory / "ask.lock"):  # two searches may start at once
        check_study(directory, study, overwrite)
        write_text(directory / STUDY_FILE, f"{study}\n")


def write(directory: Path, tree: Tree, result: Result) -> None:
    """Writes the run; `metrics.json` comes last, so a directory that has it is complete."""
    make(directory)
    write_text(directory / "config.yaml", config_text(directory, tree))
    save_params(directory / "model", result.params, extra=beside_parameters(result))
    write_atomic(directory / "per_user.parquet", lambda path: result.per_user.to_parquet(path, index=False))
    write_atomic(directory / "history.csv", lambda path: result.history.to_csv(path, index=False))
    write_text(directory / "report.html", run_report(directory.name, tree, result))
    write_json(directory / "metrics.json", result.metrics)


def beside_parameters(result: Result) -> dict[str, Any]:
    """What is stored with the parameters: the module's fields, ids, histories, features, titles and ages of items."""
    return {
        **stored_model.stored(result.model, result.hyper),
        "user_ids": result.known.user_ids,
        "item_ids": result.known.item_ids,
        **{f"known_{name}": column for name, column in histories(result.known)._asdict().items()},
        **_features(result),
        "ages": ages(result.known),
        **({} if result.trained is None else {f"trained_{k}": v for k, v in result.trained._asdict().items()}),
        **item_labels.stored(item_labels.labels(result.known.item_features)),
    }


def config_text(directory: Path, tree: Tree) -> str:
    """The resolved configuration as YAML that trains the same run again."""
    again = command("train", "--config-path", str(directory.resolve()), "--config-name", "config")
    plain = json.loads(json.dumps({**tree, "overwrite": False}))
    body = yaml.safe_dump(escaped(plain), sort_keys=False, allow_unicode=True)
    return f"# To train the same run again:\n#   {again}\n{body}{_HYDRA}"


def read_config(directory: Path) -> Tree:
    """The settings of a run directory, as `config_text` wrote them.

    Raises:
        InputError: the file cannot be read, or is not the configuration of a run.
    """
    file = directory / "config.yaml"
    tree = read(file)
    if not isinstance(tree, dict) or not {"data", "split"} <= tree.keys():
        raise InputError(f"{file} is not the configuration of a run: it has no data and split")
    kept = {key: value for key, value in tree.items() if key not in OF_COMMAND}
    found: Tree = up_to_date(unescaped(kept))
    return found


def _features(result: Result) -> dict[str, Any]:
    """Of users and items, for a model that has fields for them."""
    encoded = result.known.encoded
    return stored(encoded) if encoded is not None and wanted(result.model) else {}
