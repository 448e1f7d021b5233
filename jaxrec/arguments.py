"""Targets of settings: import, validation of values, and declared properties."""

import importlib
import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from jaxrec.command_line import advice, value_text
from jaxrec.errors import InputError

Target = TypeVar("Target", bound=Callable[..., object])

REGISTERED: dict[str, object] = {}  # objects passed by the caller, by dotted path; see `settings.register_object`


def locate(path: str, key: str = "_target_") -> Any:
    """Import the function or class of a dotted path; `key` is the setting named in error messages."""
    if path in REGISTERED:
        return REGISTERED[path]
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError, SyntaxError) as error:  # TypeError: leading dot
        raise InputError(f"{key}: {path} cannot be imported: {error}") from error


def check_value(adapter: TypeAdapter, value: object, key: str) -> None:
    """Raise an InputError for a value of the wrong type or out of range."""
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError as error:
        reasons = dict.fromkeys(_expected(reason["type"], reason["msg"], value, key) for reason in error.errors())
        text = value_text(value) if isinstance(value, tuple | list) else repr(value)
        raise InputError(f"{key}={text}: must be {' or '.join(reasons)}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{key}={value!r}: must be a finite number")


def _expected(kind: str, message: str, value: object, key: str) -> str:
    """Describe what pydantic expected in place of a value, and for common mistakes what to type."""
    message = message.removeprefix("Input should be ")
    if kind == "bool_type":
        return f"{message}, true or false"
    if kind == "string_type" and type(value) in (int, float):
        return f"{message}, {advice(key, str(value))}"
    if kind == "int_type" and isinstance(value, float) and value.is_integer():
        return f"{message}, {key}={value:.0f}"
    if kind in ("tuple_type", "list_type", "sequence_str"):
        return f"a list, e.g. [{value}]" if isinstance(value, str | int | float) else "a list"
    if kind in ("too_long", "too_short", "missing"):
        return "a shorter list" if kind == "too_long" else "a longer list"
    return message


def checked_by(check: Callable[..., None]) -> Callable[[Target], Target]:
    """Declare constraints on the arguments of a target beyond their types, checked before data is read.

    Args:
        check: takes some of the arguments by name; raises InputError.
    """

    def declare(target: Target) -> Target:
        target.check_arguments = check  # type: ignore[attr-defined]
        return target

    return declare


def reads(*columns: str) -> Callable[[Target], Target]:
    """Declare which optional data columns a target requires: `value`, `time`."""

    def declare(target: Target) -> Target:
        target.reads = columns  # type: ignore[attr-defined]
        return target

    return declare


def smaller_is_better(target: Target) -> Target:
    """Declare that smaller values of a metric are better, such as those of errors and losses."""
    target.larger_is_better = False  # type: ignore[attr-defined]
    return target


def compares_cosines(target: Target) -> Target:
    """Declare that a loss compares cosines, so that the scores of the model must be cosines."""
    target.compares_cosines = True  # type: ignore[attr-defined]
    return target


def check_loss(loss: Callable[..., object], *arguments: str) -> None:
    """Raise an InputError if a loss function cannot be called with these arguments."""
    try:
        takes = inspect.signature(loss)
    except ValueError:  # some compiled functions have no signature
        return
    try:
        takes.bind(*arguments)
    except TypeError:
        name = getattr(getattr(loss, "func", loss), "__name__", type(loss).__name__)
        raise InputError(f"loss: {name}{takes} must take the parameters ({', '.join(arguments)})") from None
