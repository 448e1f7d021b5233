"""Search spaces, validated when built and converted to Optuna distributions.

A space is a dict from config keys to dimensions, as in `conf/sweep/*.yaml`:

    optimizer.learning_rate: {low: 1.0e-4, high: 1.0e-1, log: true}
    negatives.ratio: {low: 1, high: 8, integer: true}
    model.embedding_dim: {choices: [16, 32, 64]}

A dimension may have a condition, without which it is not part of a trial:

    loss: {choices: [bpr, softmax]}
    negatives.ratio: {low: 1, high: 8, integer: true, when: {loss: bpr}}
"""

import dataclasses
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from jaxrec.command_line import value_text
from jaxrec.errors import InputError

MAX_GRID = 100_000
MAX_STEPS = 10**9  # values of a dimension with a step

Value = Any  # of a setting; YAML may hold anything, so it is checked where it is used
Values = dict[str, Value]  # a value for each dimension or setting, by key
Condition = Mapping[str, tuple[object, ...]]  # allowed values of other dimensions


@dataclass(frozen=True)
class Choice:
    """Categorical dimension: an unordered list of numbers, strings, booleans or null."""

    choices: Value  # a tuple
    when: Value = None  # None or a `Condition`

    def __post_init__(self) -> None:
        object.__setattr__(self, "when", _condition(self.when))
        if type(self.choices) not in (tuple, list):
            raise InputError(f"choices must be a list, got {self.choices!r}")
        object.__setattr__(self, "choices", tuple(self.choices))
        if not self.choices:
            raise InputError("choices is empty: list at least one value")
        for place, choice in enumerate(self.choices):
            if not (choice is None or isinstance(choice, bool | int | float | str)):
                raise InputError(f"choices may hold numbers, strings, true, false and null, got {choice!r}")
            # Compared as in Optuna, where 1, 1.0 and True are the same choice.
            if choice in self.choices[:place]:
                raise InputError(f"choices holds {choice!r} twice")

    def distribution(self) -> BaseDistribution:
        """Return the Optuna distribution of this dimension."""
        return CategoricalDistribution(self.choices)

    def contains(self, value: object) -> bool:
        """Return whether a value is one of the choices."""
        return value in self.choices

    def points(self) -> list[Value]:
        """Return all values in their original order."""
        return list(self.choices)

    def extremes(self) -> list[Value]:
        """Return the extreme values; the whole dimension is valid if these are."""
        return self.points()


@dataclass(frozen=True)
class Interval:
    """Numeric dimension from `low` to `high`, inclusive; `log` samples uniformly in log space."""

    low: Value  # numbers
    high: Value
    log: Value = False
    integer: Value = False
    step: Value = None
    when: Value = None  # None or a `Condition`

    def __post_init__(self) -> None:
        object.__setattr__(self, "when", _condition(self.when))
        for name in ("log", "integer"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, got {getattr(self, name)!r}")
        numbers = {"low": self.low, "high": self.high} | ({} if self.step is None else {"step": self.step})
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise InputError(f"{name} must be a finite number, got {number!r}")
            if self.integer and number != int(number):
                raise InputError(f"{name} must be a whole number if integer is true, got {number!r}")
            # A bound may be written 1 or 1.0; sampled values always have one type.
            object.__setattr__(self, name, int(number) if self.integer else float(number))
        if self.low > self.high:
            raise InputError(f"low {self.low} is above high {self.high}")
        if self.log and self.low <= 0:
            raise InputError(f"log needs low above 0, got {self.low}")
        if self.step is not None and self.log:
            raise InputError("log and step cannot be combined: remove one of them")
        if self.step is not None and self.step <= 0:
            raise InputError(f"step must be above 0, got {self.step}")
        if self.step is not None and self._n_points() > MAX_STEPS:
            raise InputError(f"step {self.step} is too small for the range from {self.low} to {self.high}")

    def distribution(self) -> BaseDistribution:
        """Return the Optuna distribution of this dimension."""
        # Optuna warns unless the upper bound lies on a step.
        high = self.high if self.step is None else self._point(self._n_points() - 1)
        if self.integer:
            return IntDistribution(int(self.low), int(high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, high, log=self.log, step=self.step)

    def extremes(self) -> list[Value]:
        """Return the extreme values; the whole dimension is valid if these are."""
        return [self.low, self.high]

    def contains(self, value: object) -> bool:
        """Return whether a number is in the interval, and on a step."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return self.distribution()._contains(value)

    def points(self) -> list[Value]:
        """Return all values in ascending order; requires a step or integers."""
        if self.step is None and not self.integer:
            if self.low == self.high:
                return [self.low]
            raise InputError("a grid needs discrete values: add step, integer: true, or use choices")
        if (size := self._n_points()) > MAX_GRID:
            raise InputError(f"the grid has {size:,} values, more than {MAX_GRID:,}: use a larger step")
        return [self._point(place) for place in range(size)]

    def _n_points(self) -> int:
        low, high, step = (Fraction(str(number)) for number in (self.low, self.high, self.step or 1))
        return int((high - low) // step) + 1

    def _point(self, place: int) -> Value:
        # Fractions of the decimals, so that 0.1 + 2 * 0.1 is 0.3.
        exact = Fraction(str(self.low)) + place * Fraction(str(self.step or 1))
        return int(exact) if self.integer else float(exact)


Dimension = Choice | Interval
Space = dict[str, Dimension]


def space_from_yaml(mapping: Mapping[str, object]) -> Space:
    """Build a space from plain dicts.

    Raises:
        InputError: an invalid dimension; the message names its key.
    """
    if not isinstance(mapping, Mapping):
        raise InputError(f"the search space must map config keys to dimensions, got {mapping!r}")
    return check_space({str(key): _dimension(str(key), fields) for key, fields in mapping.items()})


def check_space(space: Mapping[str, Dimension]) -> Space:
    """Return a copy of the space, with every dimension after those that its condition names.

    Raises:
        InputError: the space is empty, or a condition can never hold.
    """
    if not space:
        raise InputError("the search space is empty: add a key to sweep.space, e.g. optimizer.learning_rate")
    for key, dimension in space.items():
        for other, values in (dimension.when or {}).items():
            if other not in space:
                raise InputError(f"{key}: when names {other}, which is not in the search space: add it, or omit when")
            if wrong := [value for value in values if not space[other].contains(value)]:
                raise InputError(f"{key}: when.{other} has {wrong[0]!r}, which is not in the dimension {other}")
    ordered: Space = {}
    while ready := [k for k, d in space.items() if k not in ordered and (d.when or {}).keys() <= ordered.keys()]:
        ordered |= {key: space[key] for key in ready}
    if left := [key for key in space if key not in ordered]:
        raise InputError(f"{left[0]}: its condition depends on itself: remove one when of {', '.join(left)}")
    return ordered


def is_searched(dimension: Dimension, params: Mapping[str, object]) -> bool:
    """Return whether the condition of a dimension holds for parameters; without a condition it does."""
    return all(key in params and params[key] in values for key, values in (dimension.when or {}).items())


def reaching(space: Mapping[str, Dimension], key: str) -> Values:
    """Return values of other dimensions with which a dimension is searched: the first of each condition."""
    params: Values = {}
    for other, values in (space[key].when or {}).items():
        params |= reaching(space, other) | {other: values[0]}
    return params


def in_all_trials(key: str, value: object) -> str:
    """Return the advice for a value that all trials are to have."""
    return f"to have it in all trials, write {shlex.quote(f'{key}=choice({value_text(value)})')}"


def check_in_space(space: Mapping[str, Dimension], values: Mapping[str, object], remedy: str = "") -> None:
    """Raise an InputError for a value of a setting that its dimension does not contain, so that no trial has it.

    Args:
        space: the search space.
        values: settings besides the space.
        remedy: what to do; empty: on a command line.
    """
    for key, value in values.items():
        if key in space and not space[key].contains(value):
            bounds = space[key].extremes()
            tried = f"from {bounds[0]} to {bounds[1]}" if isinstance(space[key], Interval) else f"of {bounds}"
            advice = remedy or in_all_trials(key, value)
            raise InputError(f"{key}={value} is set, but the search tries values {tried}: {advice}")


def space_to_plain(space: Mapping[str, Dimension]) -> dict[str, Values]:
    """Return the plain dicts a study stores; inverse of `space_from_yaml`."""
    return {key: _plain({k: v for k, v in vars(d).items() if k != "when" or v}) for key, d in space.items()}


def _plain(value: Value) -> Value:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def distributions(space: Mapping[str, Dimension]) -> dict[str, BaseDistribution]:
    """Return the Optuna distribution of every key."""
    return {key: dimension.distribution() for key, dimension in check_space(space).items()}


def grid(space: Mapping[str, Dimension]) -> list[Values]:
    """Return all combinations; the last key varies fastest, or the last with a condition."""
    combinations: list[Values] = [{}]
    for key, dimension in check_space(space).items():
        try:
            points = dimension.points()
        except InputError as error:
            raise InputError(f"{key}: {error}") from error
        if (size := len(combinations) * len(points)) > MAX_GRID:
            raise InputError(f"the grid has up to {size:,} combinations, more than {MAX_GRID:,}: use fewer values")
        combinations = [
            params | extra
            for params in combinations
            for extra in ([{key: point} for point in points] if is_searched(dimension, params) else [{}])
        ]
    return combinations


def n_points(space: Mapping[str, Dimension]) -> float:
    """Return the number of combinations of a space; infinite if there is no grid."""
    try:
        return len(grid(space))
    except InputError:
        return math.inf


def _condition(when: object) -> Condition | None:
    """Return a condition with a tuple of values for each key."""
    if when is None:
        return None
    if not isinstance(when, Mapping) or not when:
        raise InputError(f"when must name other dimensions, e.g. {{loss: bpr}}, got {when!r}")
    several = {str(key): tuple(v) if isinstance(v, list | tuple) else (v,) for key, v in when.items()}
    if empty := [key for key, values in several.items() if not values]:
        raise InputError(f"when.{empty[0]} is empty: list at least one value")
    return several


def _dimension(key: str, fields: Value) -> Dimension:
    if not isinstance(fields, Mapping):
        raise InputError(f"{key}: write {{choices: [...]}} or {{low: ..., high: ...}}, got {fields!r}")
    kind = Choice if "choices" in fields else Interval
    allowed = [field.name for field in dataclasses.fields(kind)]
    if kind is Choice and (bounds := sorted(set(fields) & {"low", "high", "log", "integer", "step"})):
        raise InputError(f"{key}: has both choices and {', '.join(bounds)}: remove one of the two")
    if unknown := [str(field) for field in fields if field not in allowed]:
        raise InputError(f"{key}: unknown {', '.join(unknown)}; allowed: {', '.join(allowed)}")
    if kind is Interval and (missing := [name for name in ("low", "high") if name not in fields]):
        raise InputError(f"{key}: {' and '.join(missing)} missing: write {{low: ..., high: ...}} or {{choices: [...]}}")
    try:
        return kind(**fields)
    except InputError as error:
        raise InputError(f"{key}: {error}") from error
