"""Run directory: the files of a finished run, written so that an incomplete run is recognizable."""

import contextlib
import hashlib
import io
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from jaxrec.atomic_files import read_json, remove_mark, write_atomic, write_json, write_text
from jaxrec.checkpoint import load, model_file, save_params
from jaxrec.command_line import command, escaped, override, unescaped
from jaxrec.data import item_labels
from jaxrec.data.interactions import Interactions
from jaxrec.data.item_age import ages
from jaxrec.data.splits.assembly import Selection
from jaxrec.data.splits.fingerprint import fingerprint
from jaxrec.data.stored_features import features_to_store
from jaxrec.errors import InputError
from jaxrec.experiment import Result
from jaxrec.finished import GRID_FILE, SEEDS_FILE
from jaxrec.fitting.saved_slots import STATES, SavedSlots
from jaxrec.hyper import hyper_of
from jaxrec.recommend import stored_model
from jaxrec.report.run_report import run_report
from jaxrec.settings import COMMAND_KEYS, Tree, check_registered, flat, get, read, tuples
from jaxrec.settings.renamed import up_to_date
from jaxrec.sweep.file_lock import FileLock
from jaxrec.sweep.journal import read_journal
from jaxrec.sweep.servers import is_server
from jaxrec.sweep.user_values import FOLDER

COMPARISON_FILE = "comparison.csv"  # table of a comparison of models
LOCK_FILE = ".lock"  # held by the process that writes to a directory
STUDY_FILE = "study.txt"  # name of the study in a sweep directory

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
    """Create a folder and check that it is writable before any work starts."""
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


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Keep other processes from writing results to the same directory.

    Raises:
        InputError: another process does.
    """
    lock = FileLock(directory / LOCK_FILE)
    try:
        is_acquired = lock.acquire(wait=False)
    except OSError:  # a file system without locks
        is_acquired = True
    if not is_acquired:
        raise InputError(
            f"{directory} is in use by another process that writes its results there: wait for it, or set another "
            "hydra.run.dir or hydra.sweep.dir"
        )
    try:
        yield
    finally:
        lock.path.unlink(missing_ok=True)
        lock.release()


def check_resumable(directory: Path) -> Tree:
    """Return the settings of an interrupted run; raise an InputError if there is none."""
    if not (directory / "config.yaml").exists():
        raise InputError(f"resume={directory}: there is no run in this folder")
    if _is_finished(directory):
        _remove_states(directory)
        raise InputError(f"resume={directory}: this run is finished; there is nothing to continue")
    check_registered(read(directory / "config.yaml"), directory / "config.yaml")
    return {key: tuples(value) for key, value in read_config(directory).items()}


def check_empty(directory: Path, overwrite: bool, kind: str = "run") -> None:
    """Raise an InputError if results would be overwritten, unless `overwrite` is set.

    Files other than those of a finished run, grid, search or comparison are ignored. A search may resume in its own
    directory, see `claim`, and so may a comparison.
    """
    marks = {"metrics.json": "a run", GRID_FILE: "a grid", "journal.log": "a search", STUDY_FILE: "a search"}
    marks |= {SEEDS_FILE: "a run with several seeds", COMPARISON_FILE: "a comparison"}
    others = [content for mark, content in marks.items() if (directory / mark).exists() and content != f"a {kind}"]
    own = kind not in ("search", "comparison") and any(
        (directory / mark).exists() for mark, content in marks.items() if content == f"a {kind}"
    )
    if (others or own) and not overwrite:
        if own and _is_finished(directory):
            _remove_states(directory)
        content, key = (others or [f"a {kind}"])[0], "run" if kind.startswith("run") else "sweep"
        raise InputError(
            f"{directory} already holds {content}: set another hydra.{key}.dir, or overwrite it with overwrite=true"
        )


def _is_finished(directory: Path) -> bool:
    """Return whether a directory holds one run, several seeds or a grid, and none was interrupted."""
    file = directory / "metrics.json"
    is_group = any((directory / mark).exists() for mark in (SEEDS_FILE, GRID_FILE))
    return is_group or (file.exists() and not read_json(file).get("interrupted"))


def _remove_states(directory: Path) -> None:
    """Remove the training states of finished runs, if their process was killed before it could."""
    shutil.rmtree(directory / STATES, ignore_errors=True)


def check_study(directory: Path, study: str, overwrite: bool) -> None:
    """Raise an InputError if the sweep directory holds another study, unless `overwrite` is set."""
    file, journal = directory / STUDY_FILE, directory / "journal.log"
    if file.exists():
        studies = [file.read_text(encoding="utf-8").strip()]
    else:  # a search of jaxrec 0.1.0, named only in its journal
        studies = [study.study_name for study in read_journal(journal).get_all_studies()] if journal.exists() else []
    if studies and study not in studies and not overwrite:
        raise InputError(
            f"{directory} already holds the study {studies[0]}: set another hydra.sweep.dir, resume that study with "
            f"{override('sweep.study_name', studies[0])}, or overwrite its results with overwrite=true"
        )


def claim(directory: Path, study: str, overwrite: bool) -> None:
    """Assign the sweep directory to a study, so that no other study writes to it; see `check_study`."""
    with FileLock(directory / "ask.lock"):  # two searches may start at the same time
        check_study(directory, study, overwrite)
        if (file := directory / STUDY_FILE).exists() and file.read_text(encoding="utf-8").strip() != study:
            for folder in (STATES, FOLDER):
                shutil.rmtree(directory / folder, ignore_errors=True)  # of the other study
        write_text(directory / STUDY_FILE, f"{study}\n")


def saved_slots(folder: Path, trees: Sequence[Tree], selection: Selection, saves_results: bool = False) -> SavedSlots:
    """Return the training states of a population in a folder; those of other settings or data are ignored."""
    parts = [{key: value for key, value in flat(tree).items() if key != "trainer.save_minutes"} for tree in trees]
    text = json.dumps([parts, fingerprint(selection)], sort_keys=True, default=str)
    settings = hashlib.sha256(text.encode()).hexdigest()
    return SavedSlots(folder, get(trees[0], "trainer.save_minutes"), settings, saves_results)


def write(directory: Path, tree: Tree, result: Result) -> None:
    """Write the run directory; `metrics.json` is written last, so a directory that has it is complete."""
    remove_mark(make(directory) / "metrics.json")  # of a run that is replaced
    write_config(directory, tree)
    save_params(directory / "model", result.params, extra=stored_values(result))
    write_atomic(directory / "per_user.parquet", lambda path: result.per_user.to_parquet(path, index=False))
    write_atomic(directory / "history.csv", lambda path: result.history.to_csv(path, index=False))
    write_text(directory / "report.html", run_report(directory.name, _without_passwords(tree), result))
    write_json(directory / "metrics.json", result.metrics)


def load_result(directory: Path, known: Interactions) -> Result:
    """Return the result that `write` has written, without example lists.

    Args:
        directory: the run directory.
        known: training and validation data of the run.

    Raises:
        InputError: a file is missing or damaged.
    """
    params, extra = load(directory / "model")
    model = stored_model.restore_model(model_file(directory / "model"), extra, params, encoded=known.encoded)
    try:
        per_user, text = pd.read_parquet(directory / "per_user.parquet"), (directory / "history.csv").read_text()
        history = pd.read_csv(io.StringIO(text)) if text.strip() else pd.DataFrame()  # empty without epochs
    except (OSError, ValueError) as error:
        raise InputError(f"{directory}: a table of the run cannot be read: {error}") from error
    return Result(
        _with_nan(read_json(directory / "metrics.json")), per_user, history, model, params, hyper_of(model), known
    )


def _with_nan(value: object) -> Any:
    """Return values of a JSON file with NaN in place of null, as which it is stored."""
    if isinstance(value, dict):
        return {key: _with_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_nan(entry) for entry in value]
    return math.nan if value is None else value


def _without_passwords(tree: Tree) -> Tree:
    """Return settings in which the storage of a search has no password."""
    search = tree.get("sweep") or {}
    if not is_server(str(search.get("storage"))):
        return tree
    from jaxrec.sweep.databases import split_password  # here, because it takes long to import

    return {**tree, "sweep": {**search, "storage": split_password(search["storage"])[0]}}


def write_config(directory: Path, tree: Tree) -> None:
    """Write `config.yaml`."""
    write_text(directory / "config.yaml", config_text(directory, _without_passwords(tree)))


def stored_values(result: Result) -> dict[str, object]:
    """Return values stored with the parameters: model arguments, ids, histories, features, item titles and ages."""
    return {
        **stored_model.model_to_store(result.model, result.hyper),
        "user_ids": result.known.user_ids,
        "item_ids": result.known.item_ids,
        **_histories(result),
        **_features(result),
        "ages": ages(result.known),
        **({} if result.trained is None else {f"trained_{k}": v for k, v in result.trained._asdict().items()}),
        **item_labels.labels_to_store(item_labels.labels(result.known.item_features)),
    }


def config_text(directory: Path, tree: Tree) -> str:
    """Return the resolved configuration as YAML that repeats the run."""
    repeat = command("train", "--config-path", str(directory.resolve()), "--config-name", "config")
    plain = json.loads(json.dumps({**tree, "seeds": None, "resume": None, "overwrite": False}))
    body = yaml.safe_dump(escaped(plain), sort_keys=False, allow_unicode=True)
    return f"# To repeat this run:\n#   {repeat}\n{body}{_HYDRA}"


def read_config(directory: Path) -> Tree:
    """Read the settings of a run directory, as written by `config_text`.

    Raises:
        InputError: the file cannot be read, or is not the configuration of a run.
    """
    file = directory / "config.yaml"
    tree = read(file)
    if not isinstance(tree, dict) or not {"data", "split"} <= tree.keys():
        raise InputError(f"{file} is not the configuration of a run: the keys data and split are missing")
    kept = {key: value for key, value in tree.items() if key not in COMMAND_KEYS}
    settings: Tree = up_to_date(unescaped(kept))
    return settings


def _histories(result: Result) -> dict[str, object]:
    """Return the stored histories; times and names of event types only for a model that reads them."""
    columns = result.model.history_columns
    known: dict[str, object] = {
        f"known_{name}": column for name, column in result.known.histories._asdict().items() if name != "time"
    }
    if {"gap", "hour"} & set(columns):
        known["known_time"] = result.known.histories.time
    return known | ({"event_names": list(result.known.event_names)} if "event" in columns else {})


def _features(result: Result) -> dict[str, object]:
    """Return the stored features, for a model that uses features."""
    encoded = result.known.encoded
    return features_to_store(encoded) if encoded is not None and result.model.tables_read else {}
