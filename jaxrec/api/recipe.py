"""Settings of a fit in Python: arguments and overrides become the same configuration as on the command line."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import product
from typing import Any

import numpy as np

from jaxrec import settings
from jaxrec.command_line import override
from jaxrec.config import compose
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError
from jaxrec.models.model import Alternating, Model, Solved
from jaxrec.models.sequence import SequenceModel
from jaxrec.settings import Tree

Metrics = Sequence[str | Callable[..., object]]
_OF_SPLIT = ("data", "split")  # config groups set by `Dataset` and `split`


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
        _check_keys(values)
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
            tree["loss"]["loss"] = {"_target_": settings.register_object(self.loss), "_partial_": True}
        if self.metrics is not None:
            tree["eval"]["metrics"] = self.metrics
        tree |= {key: self.split.config[key] for key in _OF_SPLIT if key in self.split.config}
        settings.check(tree)
        return tree

    def members(self, overrides: Mapping[str, object]) -> tuple[list[Tree], bool]:
        """Return the configuration of every combination, and whether any override is a list of values."""
        _check_keys(overrides)
        overrides = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in overrides.items()}
        present = settings.flat(compose(self.choices)) | {f"model.{key}": value for key, value in self.own.items()}
        spans = {key: _values(value, present.get(key)) for key, value in overrides.items()}
        if empty := [key for key, values in spans.items() if not len(values)]:
            raise InputError(f"{empty[0]}=[] has no values: leave it out, or list at least one value")
        combinations = [dict(zip(spans, values, strict=True)) for values in product(*spans.values())]
        return [self.tree(values) for values in combinations], any(spans[key] is overrides[key] for key in spans)


def _check_keys(overrides: object) -> None:
    """Raise an InputError unless these are settings by command-line key."""
    if not isinstance(overrides, Mapping):
        raise InputError(f"overrides={overrides!r}: must be a dictionary such as {{'model.embedding_dim': 64}}")
    if unknown := [key for key in overrides if not isinstance(key, str)]:
        raise InputError(f"overrides: {unknown[0]!r} is not a setting: keys are text such as 'model.embedding_dim'")


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
    return settings.register_object(metric)


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
        choices = [f"loss={kind.usual_loss()}"]
    return {"choices": choices, "_target_": settings.register_object(kind), **kept}
