"""Metrics by name: `ndcg`, `rbp(p=0.8)` or, of one's own, `my_package.my_metric(weight=2)`.

In results `@k` follows the name of a metric of lists: `rbp(p=0.8)@10`.
"""

import ast
import inspect
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from jaxtyping import Array, Bool, Float, Int
from pydantic import TypeAdapter

from jaxrec.arguments import check_value, locate
from jaxrec.errors import InputError
from jaxrec.metrics import METRICS

SAMPLED = "sampled_"  # before the name of what was measured among candidates

# The first two parameters of a metric, which say what it measures; see `jaxrec.metrics`.
Kind = tuple[str, ...]
OF_LIST: Kind = ("hits", "n_relevant")
OF_ALL_LISTS: Kind = ("items", "n_items")
OF_VALUES: Kind = ("predictions", "targets")
OF_LABELS: Kind = ("scores", "labels")
KINDS: dict[Kind, str] = {
    OF_LIST: "a user's list",
    OF_ALL_LISTS: "all lists together",
    OF_VALUES: "predicted values (loss=mse, eval=values)",
    OF_LABELS: "predicted labels (loss=click, eval=clicks)",
}

RANKED = ("ndcg", "hit_rate", "precision", "recall", "recall_min", "map", "mrr")
VALUES, LABELS = ("mse", "rmse", "mae"), ("auc", "log_loss")


@dataclass(frozen=True)
class Metric:
    """A function with its parameters, under the name that it has in results."""

    name: str
    function: Callable[..., Array]
    parameters: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *measured: Any) -> Array:
        """The metric of these arrays."""
        return self.function(*measured, **dict(self.parameters))

    @property
    def kind(self) -> Kind:
        """The names of the arrays that it takes."""
        return tuple(inspect.signature(self.function).parameters)[:2]

    @property
    def larger_is_better(self) -> bool:
        """Whether the larger of two values is the better one."""
        return getattr(self.function, "larger_is_better", True)


def metric(text: str, key: str = "eval.metrics") -> Metric:
    """The metric of a name, parameters in parentheses; `key` is the setting that names it.

    Raises an InputError for a name or a parameter that does not exist, and for a value that is not allowed.
    """
    name, parameters = _parsed(text, key)
    if name not in METRICS and "." not in name:
        raise InputError(f"{key}: {text} is unknown; there are {', '.join(METRICS)}, and my_package.my_metric")
    function = METRICS[name] if name in METRICS else locate(name, key)
    if not callable(function) or tuple(inspect.signature(function).parameters)[:2] not in KINDS:
        wanted = "; ".join(f"({', '.join(first)}) of {what}" for first, what in KINDS.items())
        raise InputError(f"{key}: {name} is no metric: the first two parameters of one are {wanted}")
    _check_parameters(name, function, parameters, key)
    written = ",".join(f"{name}={value!r}" for name, value in parameters.items())
    return Metric(f"{name}({written})" if written else name, function, tuple(parameters.items()))


def metrics(texts: Iterable[str], kinds: Collection[Kind]) -> tuple[Metric, ...]:
    """The metrics of eval.metrics, each once. Raises an InputError for one of a kind that is not measured here."""
    found = dict.fromkeys(metric(text) for text in texts)
    if not any(chosen.kind == OF_LIST for chosen in found):
        raise InputError(f"eval.metrics={list(texts)} has no metric of a user's list: add one, such as ndcg")
    for chosen in found:
        if chosen.kind not in kinds:
            raise InputError(
                f"eval.metrics: {chosen.name} is a metric of {KINDS[chosen.kind]}, which are not measured here: leave "
                "it out"
            )
    return tuple(found)


def check_monitor(monitor: str, measured: Iterable[str]) -> None:
    """Raises an InputError for an eval.monitor that is not measured."""
    if monitor not in measured:
        raise InputError(
            f"eval.monitor={monitor} is not measured; there are {', '.join(measured)} (eval.metrics at each of eval.k)"
        )


def keys(chosen: Iterable[Metric], k: Iterable[int], prefix: str = "") -> tuple[str, ...]:
    """Keys in results: of metrics of lists one for each length, k by k, then those of predictions."""
    of_lists = [m for kind in (OF_LIST, OF_ALL_LISTS) for m in chosen if m.kind == kind]
    others = [m for m in chosen if m.kind not in (OF_LIST, OF_ALL_LISTS)]
    return tuple([f"{prefix}{m.name}@{length}" for length in k for m in of_lists] + [m.name for m in others])


def larger_is_better(key: str) -> bool:
    """Whether the larger of two values of this key of results is the better one: not so for errors and losses."""
    key = key.removeprefix(SAMPLED)
    return metric(key.rpartition("@")[0] or key, "eval.monitor").larger_is_better


def per_user(
    hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"], ks: tuple[int, ...], chosen: tuple[Metric, ...]
) -> OrderedDict[str, Float[Array, "B"]]:
    """Every metric of lists at every k, NaN for a user with nothing to find; keys such as `ndcg@10`, k by k.

    K must reach max(ks). Under `jit`, `ks` and `chosen` are static. Ordered, because jit returns a plain dict sorted by
    key.
    """
    if max(ks) > hits.shape[1]:
        raise ValueError(f"lists of {hits.shape[1]} items cannot be measured at k = {max(ks)}")
    of_list = [m for m in chosen if m.kind == OF_LIST]
    return OrderedDict((f"{m.name}@{k}", m(hits[:, :k], n_relevant)) for k in ks for m in of_list)


def _parsed(text: str, key: str) -> tuple[str, dict[str, Any]]:
    """The name and the parameters of `name(parameter=value, ...)`."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if not isinstance(node, ast.Call):
            return _dotted(node), {}
        if node.args:
            raise ValueError
        return _dotted(node.func), {str(p.arg): ast.literal_eval(p.value) for p in node.keywords}
    except (SyntaxError, ValueError):
        raise InputError(f"{key}: {text!r} is no metric: write a name, such as ndcg or 'rbp(p=0.8)'") from None


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if not isinstance(node, ast.Name):
        raise ValueError
    return node.id


def _check_parameters(name: str, function: Callable[..., Array], given: Mapping[str, Any], key: str) -> None:
    own = list(inspect.signature(function).parameters.values())[2:]
    hints = get_type_hints(function, include_extras=True)
    for parameter, value in given.items():
        if parameter not in (there := [p.name for p in own]):
            has = f"it has {', '.join(there)}" if there else "it has none"
            raise InputError(f"{key}: {name} has no parameter {parameter}; {has}")
        check_value(TypeAdapter(hints.get(parameter, Any)), value, f"{key}: {name}: {parameter}")
    if missing := [p.name for p in own if p.default is p.empty and p.name not in given]:
        raise InputError(f"{key}: {name} needs {', '.join(missing)}: write '{name}({missing[0]}=...)'")
