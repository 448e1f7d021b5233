"""Training from Python: `fit` → `TrainedModel`, which recommends, is evaluated and saved."""

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from jaxrec import experiment, rundir, settings
from jaxrec.checkpoint import read_json
from jaxrec.command_line import override
from jaxrec.config import compose
from jaxrec.console import EpochProgress
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError
from jaxrec.experiment import Result
from jaxrec.machine import use_all_cores
from jaxrec.models.model import Alternating, Model, Solved
from jaxrec.models.sequence import SequenceModel
from jaxrec.recommend.recommender import Recommender
from jaxrec.settings import Tree

_OF_SPLIT = ("data", "split")  # groups that `Dataset` and `split` have decided


class TrainedModel(Recommender):
    """A trained model that recommends, with its metrics; see `Recommender` for `recommend` and its siblings.

    Attributes:
        metrics: as in `metrics.json`: validation and test metrics, intervals, popularity's, counts, seconds.
        history: loss and validation metrics by epoch.
        per_user: every test metric of every user.
        config: every setting, as in `config.yaml`.
    """

    metrics: dict[str, Any]
    history: pd.DataFrame
    per_user: pd.DataFrame
    config: Tree
    _result: Result | None = None
    _directory: Path | None = None

    @classmethod
    def from_result(cls, tree: Tree, result: Result) -> "TrainedModel":
        """The model of a finished experiment, in memory."""
        model = cls(result.model, result.params, rundir.beside_parameters(result))
        model.metrics, model.history, model.per_user = result.metrics, result.history, result.per_user
        model.config, model._result = tree, result
        return model

    def save(self, directory: str | Path, overwrite: bool = False) -> Path:
        """Writes the run directory that `jaxrec train` would leave; `jaxrec.load` reads it.

        Raises:
            InputError: the directory holds a run already, and `overwrite` is False.
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
    """Loads the model of a run directory, or of the best trial of a search; nothing that it names is executed.

    Args:
        run: a run directory (`outputs/runs/...`), or a sweep directory, whose `best` is taken.
        model: the class of the model where it is not one of jaxrec's.

    Raises:
        InputError: there is no readable run.
    """
    directory = Path(run)
    if not (directory / "model").is_dir() and (directory / "best" / "model").is_dir():
        directory /= "best"
    loaded = TrainedModel.of_run(directory, model)
    loaded.metrics = read_json(directory / "metrics.json")
    loaded.history = _table(directory / "history.csv", pd.read_csv)
    loaded.per_user = _table(directory / "per_user.parquet", pd.read_parquet)
    loaded.config, loaded._directory = rundir.read_config(directory), directory
    return loaded


def fit(
    split: Split,
    model: str | type[Model] | Model = "mf",
    *,
    loss: str | Callable[..., Any] | None = None,
    negatives: str | None = None,
    optimizer: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    verbose: bool = True,
) -> Any:
    """Trains a model and evaluates it; nothing is written to disk.

    Args:
        split: of `jaxrec.split`.
        model: a name of conf/model, such as `sasrec`; or your own `jaxrec.models.Model`, as a class or an instance.
        loss: a name of conf/loss, or your own function with the signature of those in `jaxrec.losses`; None: the
            model's default.
        negatives: a name of conf/negatives; None: the loss's default.
        optimizer: a name of conf/optimizer; None: the model's default.
        overrides: settings by the keys of the command line, such as `{"model.embedding_dim": 64}`. A list stands for
            several members, every combination of which is trained; numbers such as learning rates and seeds differ
            within one compiled program. A setting that is itself a list takes a list of lists.
        verbose: show epochs as they are trained.

    Returns:
        A `TrainedModel`; a list of them where an override has several values, in the order of
        `itertools.product`, None (and a warning) for one that diverged.

    Raises:
        InputError: an unknown choice or key, a value out of range, parts that do not go together, divergence.

    Example:
        >>> model = jaxrec.fit(split, "mf", loss="softmax", overrides={"model.embedding_dim": 32})
        >>> model.recommend([196, 22], k=10)
        >>> models = jaxrec.fit(split, "mf", overrides={"optimizer.learning_rate": [1e-3, 3e-3], "seed": [1, 2, 3]})
    """
    use_all_cores()
    trees, several = Recipe(split, model, loss, negatives, optimizer).members(overrides or {})
    found: list[TrainedModel | None] = [None] * len(trees)
    failed: dict[int, str] = {}
    for places, shared, population in settings.populations(trees):
        experiment.check(shared, split.selection)
        with EpochProgress(shared) if verbose else nullcontext(experiment.quiet) as shown:
            selected = experiment.select(shared, split.selection, population, shown)
        for place, outcome in zip(places, experiment.finish_each(shared, split, selected), strict=True):
            if isinstance(outcome, str):
                failed[place] = outcome
            else:
                found[place] = TrainedModel.from_result(trees[place], outcome)
        if selected.fit.interrupted and several:
            raise KeyboardInterrupt
    if len(failed) == len(trees):
        raise InputError(next(iter(failed.values())))
    for place, reason in failed.items():
        warnings.warn(f"member {place} has no result: {reason}", stacklevel=2)
    return found if several else found[0]


class Recipe:
    """What is trained: a split, a model, and the choices made for it; `tree` adds the settings of one member."""

    def __init__(
        self,
        split: Split,
        model: str | type[Model] | Model,
        loss: str | Callable[..., Any] | None = None,
        negatives: str | None = None,
        optimizer: str | None = None,
    ) -> None:
        self.split, self.loss = split, loss if callable(loss) else None
        self.own = {} if isinstance(model, str) else _own_model(model)
        named = {"loss": loss if isinstance(loss, str) else None, "negatives": negatives, "optimizer": optimizer}
        self.choices: list[str] = [f"model={model}"] if isinstance(model, str) else self.own.pop("choices")
        self.choices += [f"{group}={name}" for group, name in named.items() if name is not None]

    def tree(self, values: Mapping[str, Any]) -> Tree:
        """The configuration with these settings, checked."""
        if misplaced := [key for key in values if key.split(".")[0] in _OF_SPLIT]:
            raise InputError(f"{misplaced[0]}: the data is split already; give this to jaxrec.Dataset or jaxrec.split")
        of_model = {key: value for key, value in values.items() if self.own and key.startswith("model.")}
        typed = [override(key, value) for key, value in values.items() if key not in of_model]
        tree = compose([*self.choices, *typed])
        if self.own:
            tree["model"] = {**self.own, **{key.removeprefix("model."): value for key, value in of_model.items()}}
        if self.loss is not None:
            if "loss" not in tree["loss"]:
                raise InputError(
                    f"{tree['model']['_target_']} does not learn from a function of scores: leave loss out"
                )
            tree["loss"]["loss"] = {"_target_": settings.give(self.loss), "_partial_": True}
        tree |= {key: self.split.config[key] for key in _OF_SPLIT if key in self.split.config}
        settings.check(tree)
        return tree

    def members(self, overrides: Mapping[str, Any]) -> tuple[list[Tree], bool]:
        """The configuration of every combination of the values, and whether there are several by the form of these."""
        present = settings.flat(compose(self.choices)) | {f"model.{key}": value for key, value in self.own.items()}
        spans = {key: _values(value, present.get(key)) for key, value in overrides.items()}
        combinations = [dict(zip(spans, values, strict=True)) for values in product(*spans.values())]
        return [self.tree(values) for values in combinations], any(spans[key] is overrides[key] for key in spans)


def _values(value: Any, present: Any) -> Sequence[Any]:
    """The values of an override: a list stands for several, unless the setting is a list itself."""
    is_list = isinstance(present, list | tuple)
    if isinstance(value, list) and (not is_list or any(isinstance(item, list | tuple) for item in value)):
        return value
    return [value]


def _own_model(model: type[Model] | Model) -> dict[str, Any]:
    """The node of a module that is no choice of conf/model, and the choices that train it."""
    kind = model if isinstance(model, type) else type(model)
    if not issubclass(kind, Model):
        raise InputError(f"model={model!r} is neither a name of conf/model nor a jaxrec.models.Model")
    given = {} if isinstance(model, type) else {f.name: getattr(model, f.name) for f in fields(model) if f.init}
    kept = {name: value for name, value in given.items() if name not in ("parent", "name")}
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
    """The rows of a file of a run; none where it is not there, or has no columns, as the history of EASE."""
    try:
        return read(file)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return pd.DataFrame()
