"""Hyperparameters that may differ between the members of a population, declared by the annotations of arguments."""

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from pydantic import Field

# Annotation of a number: an argument `float | Traced` of a model, loss, sampler or optimizer is an argument of the
# compiled program, so it may differ between members, and other values need no new program. Nothing else is registered.
Traced = Float[Array, ""] | Int[Array, ""]
# Like `Traced`, but a constant of the program unless members differ in it. For numbers that are rarely changed: the
# arithmetic of constants, e.g. 1 - b2, is in double precision.
Swept = Annotated[Traced, "swept"]
Share = Annotated[float, Field(ge=0, le=1)]
Part = TypeVar("Part")


@dataclass(frozen=True)
class Padded:
    """Annotation of a size: arrays have the largest size of the population, and members use a part of them.

    Attributes:
        in_use: argument with the size that a member uses, `int | Traced | None`; None: all

    Example:
        embedding_dim: Annotated[PositiveInt, Padded("width")] = 64
        width: int | Traced | None = None
    """

    in_use: str


class Declared(NamedTuple):
    """Number that may differ between members.

    Attributes:
        argument: argument that receives a member's number: `Padded.in_use` for a size
        dtype: its type
        is_size: whether it is `Padded`
        is_swept: whether it is `Swept`
    """

    argument: str
    dtype: type[np.generic]
    is_size: bool = False
    is_swept: bool = False


class Hyper(NamedTuple):
    """Hyperparameters inside a program, by group and argument: `optimizer.learning_rate`, `model.width`, ...

    Scalars for a member, [P] arrays for a population. Arguments that are not here are the same for all members.
    """

    numbers: Mapping[str, PyTree] = {}

    def of(self, group: str) -> dict[str, PyTree]:
        """Numbers of one group (`model`, `loss`, `negatives` or `optimizer`), by argument."""
        prefix = f"{group}."
        return {key.removeprefix(prefix): x for key, x in self.numbers.items() if key.startswith(prefix)}


@functools.cache
def declared(target: Callable[..., object]) -> dict[str, Declared]:
    """Arguments of a function or class annotated `Traced`, `Swept` or `Padded`."""
    found = {}
    for name, hint in get_type_hints(target, include_extras=True).items():
        parts = list(parts_of(hint))
        if sizes := [part for part in parts if isinstance(part, Padded)]:
            found[name] = Declared(sizes[0].in_use, np.int32, is_size=True)
        elif has_array(hint) and not {int, float}.isdisjoint(parts):
            found[name] = Declared(name, np.float32 if float in parts else np.int32, is_swept="swept" in parts)
    return found


def parts_of(hint: object) -> Iterator[object]:
    """The types and annotations in a hint, those in unions and `Annotated` too."""
    if get_origin(hint) in (Union, types.UnionType, Annotated):
        for part in get_args(hint):
            yield from parts_of(part)
    else:
        yield hint


def has_array(hint: object) -> bool:
    """Whether a hint contains an array type."""
    return any(hasattr(part, "dtypes") for part in parts_of(hint))


def hyper_of(model: nn.Module) -> Hyper:
    """The traced numbers of a model as arguments of a program."""
    numbers = declared(type(model)).values()  # type: ignore[arg-type]
    names = {number.argument for number in numbers if not number.is_swept}
    return Hyper({f"model.{name}": x for name in names if (x := getattr(model, name)) is not None})


def with_hyper(model: Part, hyper: Hyper) -> Part:
    """The model with a member's hyperparameters."""
    return with_numbers(model, hyper.of("model"))


def zeroed(part: Part, numbers: Mapping[str, PyTree]) -> Part:
    """The part with zeros in place of numbers that its program takes as arguments, see `with_numbers`.

    Parts that differ in these numbers alone become equal, and share one program.
    """
    return with_numbers(part, {path: jnp.result_type(number).type(0).item() for path, number in numbers.items()})


def with_numbers(part: Part, numbers: Mapping[str, PyTree]) -> Part:
    """Replace the arguments of a module, dataclass or `functools.partial` at dotted paths."""
    if not numbers:
        return part
    within: dict[str, dict[str, PyTree]] = {}
    for path, number in numbers.items():
        name, _, rest = path.partition(".")
        within.setdefault(name, {})[rest] = number
    own = part.keywords if isinstance(part, functools.partial) else vars(part)
    new = {name: inner[""] if "" in inner else with_numbers(own[name], inner) for name, inner in within.items()}
    if isinstance(part, functools.partial):
        return functools.partial(part, **new)  # type: ignore[return-value]
    return part.clone(**new) if isinstance(part, nn.Module) else replace(part, **new)  # type: ignore[type-var]
