"""Training in Python: `fit` returns a `TrainedModel`, which recommends and can be saved."""

import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd

from jaxrec import experiment, rundir, settings
from jaxrec.atomic_files import read_json
from jaxrec.command_line import override
from jaxrec.config import compose
from jaxrec.console import EpochProgress
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError, first_line
from jaxrec.experiment import Result
from jaxrec.finished import finished_run
from jaxrec.machine import use_all_cores
from jaxrec.models.model import Alternating, Model, Solved
from jaxrec.models.sequence import SequenceModel
from jaxrec.recommend.recommender import Recommender
from jaxrec.settings import Tree

Metrics = Sequence[str | Callable[..., object]]
Value = str | float | bool | None  # of one setting; a list instead means several members
_OF_SPLIT = ("data", "split")  # config groups set by `Dataset` and `split`


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
        model = cls(result.model, result.params, rundir.beside_parameters(result))
        model.metrics, model.history, model.per_user = result.metrics, result.history, result.per_user
        model.config, model._result = tree, result
        return model

    def save(self, directory: str | Path, overwrite: bool = False) -> Path:
        """Write a run directory like that of `jaxrec train`; `jaxrec.load` reads it.

        Raises:
            InputError: the directory already holds a run, and `overwrite` is False.
        """
        to = Path(directory)
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
    directory = finished_run(Path(run))
    loaded = TrainedModel.of_run(directory, model)
    loaded.metrics = read_json(directory / "metrics.json")
    if not isinstance(loaded.metrics, dict):
        raise InputError(f"{directory / 'metrics.json'} has no metrics of a run: train the run again")
    loaded.history = _table(directory / "history.csv", pd.read_csv)
    loaded.per_user = _table(directory / "per_user.parquet", pd.read_parquet)
    loaded.config, loaded._directory = rundir.read_config(directory), directory
    return loaded


@overload
def fit(
    split: Split,
    model: str | type[Model] | Model = "mf",
    *,
    loss: str | Callable[..., object] | None = None,
    negatives: str | None = None,
    optimizer: str | None = None,
    metrics: Metrics | None = None,
    overrides: Mapping[str, Value] | None = None,
    verbose: bool = True,
) -> TrainedModel: ...


@overload
def fit(
    split: Split,
    model: str | type[Model] | Model = "mf",
    *,
    loss: str | Callable[..., object] | None = None,
    negatives: str | None = None,
    optimizer: str | None = None,
    metrics: Metrics | None = None,
    overrides: Mapping[str, object],
    verbose: bool = True,
) -> TrainedModel | list[TrainedModel | None]: ...


def fit(
    split: Split,
    model: str | type[Model] | Model = "mf",
    *,
    loss: str | Callable[..., object] | None = None,
    negatives: str | None = None,
    optimizer: str | None = None,
    metrics: Metrics | None = None,
    overrides: Mapping[str, object] | None = None,
    verbose: bool = True,
) -> TrainedModel | list[TrainedModel | None]:
    """Train a model and evaluate it; nothing is written to disk.

    Args:
        split: a split of `jaxrec.split`.
        model: a name of conf/model, e.g. `sasrec`; or your own `jaxrec.models.Model`, as a class or an instance.
        loss: a name of conf/loss, or your own function with the signature of those in `jaxrec.losses`; None: the
            model's default.
        negatives: a name of conf/negatives; None: the loss's default.
        optimizer: a name of conf/optimizer; None: the model's default.
        metrics: names such as `ndcg` and `rbp(p=0.8)`, or your own functions with the signature of those in
            `jaxrec.metrics`; None: the defaults of conf/eval.
        overrides: settings by command-line key, e.g. `{"model.embedding_dim": 64}`. A list means several members,
            and every combination is trained; members that differ only in numbers such as learning rates and seeds
            share one compiled program. A setting that is itself a list takes a list of lists.
        verbose: show the training progress.

    Returns:
        A `TrainedModel`; a list of them if an override has several values, in the order of `itertools.product`, with
        None (and a warning) for members that diverged.

    Raises:
        InputError: an unknown choice or key, a value out of range, incompatible settings, or divergence.

    Example:
        >>> model = jaxrec.fit(split, "mf", loss="softmax", overrides={"model.embedding_dim": 32})
        >>> model.recommend([196, 22], k=10)
        >>> models = jaxrec.fit(split, "mf", overrides={"optimizer.learning_rate": [1e-3, 3e-3], "seed": [1, 2, 3]})
    """
    use_all_cores()
    trees, several = Recipe(split, model, loss, negatives, optimizer, metrics).members(overrides or {})
    models: list[TrainedModel | None] = [None] * len(trees)
    failed: dict[int, str] = {}
    for places, shared, population in settings.populations(trees):
        experiment.check(shared, split.selection)
        with EpochProgress(shared) if verbose else nullcontext(experiment.quiet) as progress:
            selected = experiment.select(shared, split.selection, population, progress)
        for place, outcome in zip(places, experiment.finish_each(shared, split, selected), strict=True):
            if isinstance(outcome, str):
                failed[place] = outcome
            else:
                models[place] = TrainedModel.from_result(trees[place], outcome)
        if selected.fit.interrupted and several:
            raise KeyboardInterrupt
    if len(failed) == len(trees):
        raise InputError(next(iter(failed.values())))
    for place, reason in failed.items():
        warnings.warn(f"member {place} failed: {reason}", stacklevel=2)
    if several:
        return models
    (model_alone,) = models
    assert model_alone is not None  # a failure alone is raised
    return model_alone


class Recipe:
    """Split, model and config choices of a fit; `tree` adds the settings of one member."""

    def __init__(
        self,
        split: Split,
        model: str | type[Model] | Model,
        loss: str | Callable[..., object] | None = None,
        negatives: str | None = None,
        optimizer: str | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        if not isinstance(split, Split):
            raise InputError(f"{type(split).__name__} is not a split: pass jaxrec.split(data, 'holdout'), or another")
        self.split, self.loss = split, loss if callable(loss) else None
        self.metrics = metric_names(metrics)
        self.own = {} if isinstance(model, str) else _own_model(model)
        if loss is not None and not isinstance(loss, str) and not callable(loss):
            raise InputError(f"loss={loss!r} is neither a name of conf/loss nor a function")
        named = {"loss": loss if isinstance(loss, str) else None, "negatives": negatives, "optimizer": optimizer}
        self.choices: list[str] = [f"model={model}"] if isinstance(model, str) else self.own.pop("choices")
        self.choices += [f"{group}={name}" for group, name in named.items() if name is not None]

    def tree(self, values: Mapping[str, object]) -> Tree:
        """Return the validated configuration with these settings."""
        if misplaced := [key for key in values if key.split(".")[0] in _OF_SPLIT]:
            raise InputError(f"{misplaced[0]}: the data is already split; pass this to jaxrec.Dataset or jaxrec.split")
        if "seeds" in values:
            raise InputError("seeds is a setting of the command line: pass a list of seeds, e.g. seed=[1, 2, 3]")
        of_model = {key: value for key, value in values.items() if self.own and key.startswith("model.")}
        typed = [override(key, value) for key, value in values.items() if key not in of_model]
        tree = compose([*self.choices, *typed])
        if self.own:
            tree["model"] = {**self.own, **{key.removeprefix("model."): value for key, value in of_model.items()}}
        if self.loss is not None:
            if "loss" not in tree["loss"]:
                raise InputError(f"{tree['model']['_target_']} does not support a custom loss function: omit loss")
            tree["loss"]["loss"] = {"_target_": settings.give(self.loss), "_partial_": True}
        if self.metrics is not None:
            tree["eval"]["metrics"] = self.metrics
        tree |= {key: self.split.config[key] for key in _OF_SPLIT if key in self.split.config}
        settings.check(tree)
        return tree

    def members(self, overrides: Mapping[str, object]) -> tuple[list[Tree], bool]:
        """Return the configuration of every combination, and whether any override is a list of values."""
        overrides = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in overrides.items()}
        for key in overrides:
            if not isinstance(key, str):
                raise InputError(f"overrides: {key!r} is not a setting: keys are text such as 'model.embedding_dim'")
        present = settings.flat(compose(self.choices)) | {f"model.{key}": value for key, value in self.own.items()}
        spans = {key: _values(value, present.get(key)) for key, value in overrides.items()}
        if empty := [key for key, values in spans.items() if not len(values)]:
            raise InputError(f"{empty[0]}=[] has no values: leave it out, or list at least one value")
        combinations = [dict(zip(spans, values, strict=True)) for values in product(*spans.values())]
        return [self.tree(values) for values in combinations], any(spans[key] is overrides[key] for key in spans)


def metric_names(metrics: Metrics | None) -> tuple[str, ...] | None:
    """Return metrics by name; functions are registered under their dotted path."""
    if metrics is None:
        return None
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise InputError(f"metrics={metrics!r}: must be a list, e.g. metrics=['ndcg']")
    return tuple(metric if isinstance(metric, str) else _given(metric) for metric in metrics)


def _given(metric: object) -> str:
    if not callable(metric) or not hasattr(metric, "__qualname__"):
        raise InputError(f"metrics: {metric!r} is neither a name nor a function")
    if "<lambda>" in metric.__qualname__:
        raise InputError("metrics: a lambda has no name for the results: define the metric with def")
    return settings.give(metric)


def _values(value: object, present: object) -> Sequence[object]:
    """Return the values of an override: a list means several values, unless the setting is itself a list."""
    is_list = isinstance(present, list | tuple)
    if isinstance(value, list) and (not is_list or any(isinstance(item, list | tuple) for item in value)):
        return value
    return [value]


def _own_model(model: type[Model] | Model) -> dict[str, Any]:
    """Return the config node of a user-defined model, and the choices that train it."""
    kind = model if isinstance(model, type) else type(model)
    if not issubclass(kind, Model):
        raise InputError(f"model={model!r} is neither a name of conf/model nor a jaxrec.models.Model")
    fields_of_model = (
        {} if isinstance(model, type) else {f.name: getattr(model, f.name) for f in fields(model) if f.init}
    )
    kept = {name: value for name, value in fields_of_model.items() if name not in ("parent", "name")}
    without_loss = ["loss=none", "negatives=none", "optimizer=none"]
    choices = []
    if issubclass(kind, Solved):
        choices = ["trainer=closed_form", *without_loss]
    elif issubclass(kind, Alternating):
        choices = ["trainer=alternating", *without_loss]
    elif issubclass(kind, SequenceModel):
        choices = ["loss=sequence_softmax"]
    return {"choices": choices, "_target_": settings.give(kind), **kept}


def _table(file: Path, read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    """Read a table of a run; empty if the file is missing or has no columns, e.g. the history of EASE."""
    try:
        return read(file)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return pd.DataFrame()
    except (OSError, ValueError) as error:  # errors of Arrow and of text that is not UTF-8 are among them
        raise InputError(f"{file} is damaged ({first_line(error)}): train the run again, or delete the file") from error
