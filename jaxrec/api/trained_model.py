"""Trained models in Python: a recommender with its metrics and training history, saved and loaded."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from jaxrec import rundir, settings
from jaxrec.atomic_files import read_json
from jaxrec.errors import InputError, first_line
from jaxrec.experiment import Result
from jaxrec.finished import finished_run
from jaxrec.models.model import Model
from jaxrec.recommend.recommender import Recommender
from jaxrec.settings import Tree
from jaxrec.user_paths import expanded


class TrainedModel(Recommender):
    """Trained model with its metrics; see `Recommender` for `recommend` and related methods.

    Attributes:
        metrics: contents of `metrics.json`: validation and test metrics, intervals, popularity baseline, counts,
            seconds.
        history: loss and validation metrics by epoch.
        per_user: test metrics by user.
        config: all settings, as in `config.yaml`.
    """

    metrics: Tree
    history: pd.DataFrame
    per_user: pd.DataFrame
    config: Tree
    _result: Result | None = None
    _directory: Path | None = None

    @classmethod
    def from_result(cls, tree: Tree, result: Result) -> "TrainedModel":
        """Build the model from the result of an experiment, in memory."""
        model = cls(result.model, result.params, rundir.stored_values(result))
        model.metrics, model.history, model.per_user = result.metrics, result.history, result.per_user
        model.config, model._result = tree, result
        return model

    def save(self, directory: str | Path, overwrite: bool = False) -> Path:
        """Write a run directory like that of `jaxrec train`; `jaxrec.load` reads it.

        Raises:
            InputError: the directory already holds a run, and `overwrite` is False.
        """
        to = expanded(directory)
        rundir.check_empty(to, overwrite)
        if self._result is not None:
            rundir.write(to, self.config, self._result)
        elif self._directory is not None and self._directory.resolve() != to.resolve():
            shutil.copytree(self._directory, to, dirs_exist_ok=True)
        return to

    def __repr__(self) -> str:
        name = type(self.model).__name__
        monitor = str(settings.get(self.config, "eval.monitor", ""))
        parts = (("validation", self.metrics.get("validation", {})), ("test", self.metrics.get("test", {})))
        values = [f"{part} {monitor} {metrics[monitor]:.4f}" for part, metrics in parts if monitor in metrics]
        return f"TrainedModel({name}: {len(self.user_ids):,} users, {len(self.item_ids):,} items; {', '.join(values)})"


def load(run: str | Path, model: type[Model] | None = None) -> TrainedModel:
    """Load the model of a run directory, or of the best trial of a search; nothing named in it is executed.

    Args:
        run: a run directory (`outputs/runs/...`); a sweep directory, of which `best` is loaded; or the directory of a
            run with several seeds, of which the best on validation is loaded.
        model: the class of a model that is not part of jaxrec.

    Raises:
        InputError: there is no readable run.
    """
    if not isinstance(run, str | Path):
        raise InputError(f"run={run!r}: must be the path of a run directory")
    directory = finished_run(expanded(run))
    loaded = TrainedModel.of_run(directory, model)
    loaded.metrics = read_json(directory / "metrics.json")
    if not isinstance(loaded.metrics, dict):
        raise InputError(f"{directory / 'metrics.json'} has no metrics of a run: train the run again")
    loaded.history = _table(directory / "history.csv", pd.read_csv)
    loaded.per_user = _table(directory / "per_user.parquet", pd.read_parquet)
    loaded.config, loaded._directory = rundir.read_config(directory), directory
    return loaded


def _table(file: Path, read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    """Read a table of a run; empty if the file is missing or, in a run of an early version, empty."""
    try:
        return read(file)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return pd.DataFrame()
    except (OSError, ValueError) as error:  # errors of Arrow and of text that is not UTF-8 are among them
        raise InputError(f"{file} is damaged ({first_line(error)}): train the run again, or delete the file") from error
