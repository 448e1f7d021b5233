"""Compiled programs, kept for the life of the process: functions with equal definitions share one.

Training the same model twice, or on other data of the same shapes, traces and compiles nothing the second time.

    program = programs.jit(partial(score, model, k))   # score(model, k, params, query): a function of a module
    program(params, query)

The definition of a program is everything that its function captures, compared by value: arguments bound by
`functools.partial`, and the object of a method. They may be numbers, strings, tuples, mappings, Flax modules, frozen
dataclasses, and functions and classes of a module. Arrays are arguments of a program, so one program serves all data of
the same shapes, and keeping it keeps no data. A function that captures anything else, such as an array or the variables
of another function, has no definition: its program is its own and is not kept.
"""

import dataclasses
import enum
import functools
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxrec import backend

MAX_PROGRAMS = 128  # functions that are kept; the one that was unused for longest is dropped first
MAX_PADDED = 1 << 20  # entries of a column; copying a longer one may cost more than compiling for its length

_kept: OrderedDict[Hashable, Any] = OrderedDict()
_lock = threading.Lock()


class UndefinedError(TypeError):
    """A function captures what cannot be compared by value."""


def jit(f: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit` with the compiler options of the platform; the same jitted function for every equal definition.

    Args:
        f: the function to compile; see the module for what it may capture.
        options: arguments of `jax.jit`.
    """
    try:
        key = definition(f), definition(options), backend.target()
    except UndefinedError:
        return _jitted(f, options)
    with _lock:
        _kept[key] = program = _kept.get(key) or _jitted(f, options)
        _kept.move_to_end(key)
        while len(_kept) > MAX_PROGRAMS:
            _kept.popitem(last=False)
    return program


def rounded_up(n: int) -> int:
    """The number rounded up by less than an eighth, so that similar data share a program."""
    step = 1 << max(0, n.bit_length() - 4)
    return -(-n // step) * step


def padded(values: np.ndarray, fill: float) -> np.ndarray:
    """A column extended to `rounded_up` entries, at least one, because gathers need a non-empty array.

    A column of more than `MAX_PADDED` entries is returned as it is.
    """
    if len(values) > MAX_PADDED:
        return values
    return np.pad(values, (0, rounded_up(max(1, len(values))) - len(values)), constant_values=fill)


def clear() -> None:
    """Forget all programs."""
    with _lock:
        _kept.clear()


def definition(value: object) -> Hashable:
    """Return the part of a value in the definition of a program: equal if and only if the programs are the same.

    Raises:
        UndefinedError: the value cannot be compared, or keeping it could keep arrays.
    """
    kind = _lasting(type(value))
    match value:
        case None | bool() | int() | str() | bytes() | np.dtype():
            return kind, value
        case float():
            return kind, value.hex()  # tells -0.0 from 0.0, and NaN equals itself
        case enum.Enum():
            return kind, value.name
        case np.generic():
            return kind, value.tobytes()
        case tuple() | list():
            return kind, *map(definition, value)
        case Mapping():
            return kind, *((definition(key), definition(item)) for key, item in value.items())
        case functools.partial():
            return kind, definition(value.func), definition(value.args), definition(value.keywords)
        case types.MethodType():
            return kind, definition(value.__func__), definition(value.__self__)
        case _ if isinstance(value, nn.Module) or _is_frozen(value):
            fields = dataclasses.fields(value)  # type: ignore[arg-type]
            return kind, *(definition(getattr(value, field.name)) for field in fields)
        case _ if callable(value):
            return _lasting(value)
    raise UndefinedError(
        f"{kind.__name__} cannot be part of the definition of a program: make arrays arguments of the program"
    )


def _lasting(value: Any) -> Any:
    """A function or class itself, if it is that of a module, which lives as long as the process."""
    if "<locals>" in getattr(value, "__qualname__", "<locals>"):
        raise UndefinedError(f"{value!r} is not a function or class of a module")
    return value


def _is_frozen(value: object) -> bool:
    """Whether a value is an instance of a frozen dataclass that is compared by its fields."""
    options = getattr(type(value), "__dataclass_params__", None)
    return options is not None and options.frozen and options.eq


def _jitted(f: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    chosen = dict(backend.choices().compiler_options)
    return jax.jit(f, **options, compiler_options=chosen) if chosen else jax.jit(f, **options)
