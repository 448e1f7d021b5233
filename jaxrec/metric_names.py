"""Metrics by name: `ndcg`, `rbp(p=0.8)`, or custom ones such as `my_package.my_metric(weight=2)`.

In results, the name of a list metric is followed by `@k`: `rbp(p=0.8)@10`.
"""

import ast
import inspect
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import get_type_hints

from jaxtyping import Array, Bool, Float, Int
from pydantic import TypeAdapter

from jaxrec.arguments import check_value, locate
from jaxrec.errors import InputError
from jaxrec.metrics import METRICS

SAMPLED = "sampled_"  # prefix of metrics measured among candidates

# Names of the first two parameters of a metric, which determine its kind; see `jaxrec.metrics`.
Kind = tuple[str, ...]
OF_LIST: Kind = ("hits", "n_relevant")
OF_ITEMS: Kind = ("items", "shares")
OF_HITS: Kind = ("hits", "expected")
OF_POPULARITY: Kind = ("popularity", "own_popularity")
OF_CATEGORIES: Kind = ("mix", "own_mix")
OF_ALL_LISTS: Kind = ("items", "n_items")
OF_VALUES: Kind = ("predictions", "targets")
OF_LABELS: Kind = ("scores", "labels")
KINDS: dict[Kind, str] = {
    OF_LIST: "a user's list",
    OF_ITEMS: "the items of a user's list",
    OF_HITS: "the hits of a user's list",
    OF_POPULARITY: "the popularity of the items of a user's list",
    OF_CATEGORIES: "the categories of the items of a user's list",
    OF_ALL_LISTS: "all lists together",
    OF_VALUES: "predicted values (loss=mse, eval=values)",
    OF_LABELS: "predicted labels (loss=click, eval=clicks)",
}
CATALOG_KINDS = (OF_LIST, OF_ITEMS, OF_HITS, OF_POPULARITY, OF_CATEGORIES, OF_ALL_LISTS)  # of lists of the full catalog

RANKED = ("ndcg", "hit_rate", "precision", "recall", "recall_min", "map", "mrr")
ON_TEST = (
    *("map_all", "rbp", "err", "novelty", "serendipity", "popularity_bias", "average_popularity", "calibration_error"),
    "gini",
)
VALUES, LABELS = ("mse", "rmse", "mae"), ("auc", "log_loss")


@dataclass(frozen=True)
class Metric:
    """A metric function with its parameters, and its name in results."""

    name: str
    function: Callable[..., Array]
    parameters: tuple[tuple[str, object], ...] = ()

    def __call__(self, *measured: object) -> Array:
        """Compute the metric of arrays of its kind."""
        return self.function(*measured, **dict(self.parameters))

    @property
    def kind(self) -> Kind:
        """Names of the arrays that the metric takes."""
        return tuple(inspect.signature(self.function).parameters)[:2]

    @property
    def larger_is_better(self) -> bool:
        """Whether larger values are better."""
        return getattr(self.function, "larger_is_better", True)


def metric(text: str, key: str = "eval.metrics") -> Metric:
    """Parse a metric name with optional parameters in parentheses.

    Args:
        text: the name, e.g. `ndcg`, `rbp(p=0.8)` or `my_package.my_metric`.
        key: setting that contains the name, for error messages.

    Raises:
        InputError: for an unknown name or parameter, or an invalid value.
    """
    name, parameters = _parsed(text, key)
    if name not in METRICS and "." not in name:
        raise InputError(
            f"{key}: unknown metric {text}: choose one of {', '.join(METRICS)}, or a path such as my_package.my_metric"
        )
    function = METRICS[name] if name in METRICS else locate(name, key)
    if not callable(function) or tuple(inspect.signature(function).parameters)[:2] not in KINDS:
        signatures = "; ".join(f"({', '.join(first)}) of {what}" for first, what in KINDS.items())
        raise InputError(f"{key}: {name} is not a metric: the first two parameters of a metric must be {signatures}")
    _check_parameters(name, function, parameters, key)
    written = ",".join(f"{name}={value!r}" for name, value in parameters.items())
    return Metric(f"{name}({written})" if written else name, function, tuple(parameters.items()))


def metrics(texts: Iterable[str], kinds: Collection[Kind], on_test: Iterable[str] = ()) -> tuple[Metric, ...]:
    """Parse eval.metrics and eval.test_metrics, without duplicates.

    Raises:
        InputError: an unknown metric, or a metric of a kind that is not in `kinds`.
    """
    parsed = dict.fromkeys(metric(text) for text in texts)
    if not any(chosen.kind == OF_LIST for chosen in parsed):
        raise InputError(f"eval.metrics={list(texts)} has no metric of a user's list: add one, e.g. ndcg")
    further = dict.fromkeys(metric(text, "eval.test_metrics") for text in on_test)
    for chosen in (parsed := parsed | further):
        if chosen.kind not in kinds:
            key = "eval.test_metrics" if chosen in further else "eval.metrics"
            raise InputError(
                f"{key}: {chosen.name} is a metric of {KINDS[chosen.kind]}, which this evaluation does not "
                "produce: remove it"
            )
    return tuple(parsed)


def check_monitor(monitor: str, measured: Iterable[str]) -> None:
    """Raise an InputError if eval.monitor is not among the reported metrics."""
    if monitor not in measured:
        raise InputError(
            f"eval.monitor={monitor} is not among the metrics: choose one of {', '.join(measured)} (eval.metrics at "
            "each of eval.k)"
        )


def keys(chosen: Iterable[Metric], k: Iterable[int], prefix: str = "") -> tuple[str, ...]:
    """Keys in results: list metrics at each k, ordered by k, then metrics of predictions; InputError without any k."""
    if not (k := tuple(k)):
        raise InputError("eval.k=[] has no list length: add one, e.g. eval.k=[10]")
    of_lists = [m for kind in CATALOG_KINDS for m in chosen if m.kind == kind]
    others = [m for m in chosen if m.kind not in CATALOG_KINDS]
    return tuple([f"{prefix}{m.name}@{length}" for length in k for m in of_lists] + [m.name for m in others])


def larger_is_better(key: str) -> bool:
    """Whether larger values of this result key are better, i.e. it is not an error or a loss."""
    key = key.removeprefix(SAMPLED)
    return metric(key.rpartition("@")[0] or key, "eval.monitor").larger_is_better


def per_user(
    hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"], ks: tuple[int, ...], chosen: tuple[Metric, ...]
) -> OrderedDict[str, Float[Array, "B"]]:
    """Every list metric at every k, by keys such as `ndcg@10`, ordered by k; NaN for users without relevant items.

    K must be at least max(ks). Under `jit`, `ks` and `chosen` are static. An OrderedDict, because jit sorts the keys of
    a plain dict.
    """
    if max(ks) > hits.shape[1]:
        raise ValueError(f"k={max(ks)} exceeds the {hits.shape[1]} items of the lists")
    of_list = [m for m in chosen if m.kind == OF_LIST]
    return OrderedDict((f"{m.name}@{k}", m(hits[:, :k], n_relevant)) for k in ks for m in of_list)


def _parsed(text: str, key: str) -> tuple[str, dict[str, object]]:
    """Name and parameters of `name(parameter=value, ...)`."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if not isinstance(node, ast.Call):
            return _dotted(node), {}
        if node.args:
            raise ValueError
        return _dotted(node.func), {str(p.arg): ast.literal_eval(p.value) for p in node.keywords}
    except (SyntaxError, ValueError):
        raise InputError(f"{key}: {text!r} is not a metric: write a name, e.g. ndcg or 'rbp(p=0.8)'") from None


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if not isinstance(node, ast.Name):
        raise ValueError
    return node.id


def _check_parameters(name: str, function: Callable[..., Array], values: Mapping[str, object], key: str) -> None:
    own = list(inspect.signature(function).parameters.values())[2:]
    hints = get_type_hints(function, include_extras=True)
    for parameter, value in values.items():
        if parameter not in (names := [p.name for p in own]):
            has = f"its parameters are {', '.join(names)}" if names else "it has none"
            raise InputError(f"{key}: {name} has no parameter {parameter}: {has}")
        check_value(TypeAdapter(hints.get(parameter, object)), value, f"{key}: {name}: {parameter}")
    if missing := [p.name for p in own if p.default is p.empty and p.name not in values]:
        raise InputError(f"{key}: {name} needs {', '.join(missing)}: write '{name}({missing[0]}=...)'")
