"""Hyperparameters that may differ between the members of a population."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Annotated, NamedTuple, TypeVar

import flax.linen as nn
from jaxtyping import Array, Float, Int, PyTree
from pydantic import Field

# Type of a hyperparameter inside a compiled program. An argument of a model, loss, sampler or optimizer annotated
# `float | Traced` may differ between the members of a population; no further registration is needed.
Traced = Float[Array, ""] | Int[Array, ""]
Share = Annotated[float, Field(ge=0, le=1)]
Module = TypeVar("Module", bound=nn.Module)
Part = TypeVar("Part")


class Hyper(NamedTuple):
    """Traced hyperparameters: one compiled program serves all of their values.

    Scalars for a member, [P] arrays for a population.
    """

    learning_rate: Float[Array, "*P"]
    weight_decay: Float[Array, "*P"]
    regularization: Float[Array, "*P"]
    width: Int[Array, "*P"]  # embedding columns in use; tables have the largest dimension of the population
    n_negatives: Int[Array, "*P"]  # negatives in use of those drawn
    unobserved_weight: Float[Array, "*P"] | None = None  # weight of unobserved pairs; None: not a parameter
    shrinkage: Float[Array, "*P"] | None = None  # added to the denominator of a similarity
    n_neighbors: Int[Array, "*P"] | None = None  # neighbors in use of those stored
    dropout: Float[Array, "*P"] | None = None  # dropout rate; None: the model's own
    temperature: Float[Array, "*P"] | None = None  # divides scores
    others: Mapping[str, Array] = {}  # all other hyperparameters that differ, by configuration key

    def of(self, group: str) -> dict[str, PyTree]:
        """Entries of `others` of one group (`model`, `loss`, `negatives` or `optimizer`), by the rest of their key."""
        prefix = f"{group}."
        return {key.removeprefix(prefix): x for key, x in self.others.items() if key.startswith(prefix)}


def with_hyper(model: Module, hyper: Hyper) -> Module:
    """The model with its traced fields set to the member's hyperparameters."""
    own = {field.name for field in dataclasses.fields(model)}
    named = {name: x for name, x in hyper._asdict().items() if name in own and name != "others" and x is not None}
    return with_numbers(model, {**named, **hyper.of("model")})


def with_numbers(part: Part, numbers: Mapping[str, PyTree]) -> Part:
    """Replace the arguments of a module, dataclass or `functools.partial` at dotted paths."""
    if not numbers:
        return part
    within: dict[str, dict[str, PyTree]] = {}
    for path, number in numbers.items():
        name, _, rest = path.partition(".")
        within.setdefault(name, {})[rest] = number
    own = part.keywords if isinstance(part, partial) else vars(part)
    new = {name: inner[""] if "" in inner else with_numbers(own[name], inner) for name, inner in within.items()}
    if isinstance(part, partial):
        return partial(part, **new)  # type: ignore[return-value]
    return part.clone(**new) if isinstance(part, nn.Module) else dataclasses.replace(part, **new)  # type: ignore[type-var]
