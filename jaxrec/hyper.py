"""The numbers that members of one population may differ in."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Annotated, NamedTuple, TypeVar

import flax.linen as nn
from jaxtyping import Array, Float, Int, PyTree
from pydantic import Field

# What a number of the configuration is inside a program. An argument of a model, loss, sampler or optimizer that is
# annotated `float | Traced` may differ between the members of a population; nothing else has to be told.
Traced = Float[Array, ""] | Int[Array, ""]
Share = Annotated[float, Field(ge=0, le=1)]
Module = TypeVar("Module", bound=nn.Module)
Part = TypeVar("Part")


class Hyper(NamedTuple):
    """Numbers in the arithmetic, hence traced: one compiled program serves every value of them.

    Scalars inside a member, [P] arrays for a population.
    """

    learning_rate: Float[Array, "*P"]
    weight_decay: Float[Array, "*P"]
    regularization: Float[Array, "*P"]
    width: Int[Array, "*P"]  # embedding columns in use; the tables are as wide as the population's widest
    n_negatives: Int[Array, "*P"]  # negatives in use of those drawn
    unobserved_weight: Float[Array, "*P"] | None = None  # of every pair of user and item; None: no such number
    shrinkage: Float[Array, "*P"] | None = None  # common users or items that a similarity is shrunk by
    n_neighbors: Int[Array, "*P"] | None = None  # neighbors in use of those kept
    dropout: Float[Array, "*P"] | None = None  # share of numbers that training zeroes; None: as the model says
    temperature: Float[Array, "*P"] | None = None  # divides scores
    others: Mapping[str, Array] = {}  # key of the configuration → any other number in which the members differ

    def of(self, group: str) -> dict[str, PyTree]:
        """Those of `others` under `model`, `loss`, `negatives` or `optimizer`, by the rest of their key."""
        prefix = f"{group}."
        return {key.removeprefix(prefix): x for key, x in self.others.items() if key.startswith(prefix)}


def with_hyper(model: Module, hyper: Hyper) -> Module:
    """The model with its traced fields set to the member's own numbers."""
    own = {field.name for field in dataclasses.fields(model)}
    named = {name: x for name, x in hyper._asdict().items() if name in own and name != "others" and x is not None}
    return with_numbers(model, {**named, **hyper.of("model")})


def with_numbers(part: Part, numbers: Mapping[str, PyTree]) -> Part:
    """A module, dataclass or `functools.partial` with the arguments at these dotted paths replaced."""
    if not numbers:
        return part
    within: dict[str, dict[str, PyTree]] = {}
    for path, number in numbers.items():
        name, _, rest = path.partition(".")
        within.setdefault(name, {})[rest] = number
    own = part.keywords if isinstance(part, partial) else vars(part)
    new = {name: given[""] if "" in given else with_numbers(own[name], given) for name, given in within.items()}
    if isinstance(part, partial):
        return partial(part, **new)  # type: ignore[return-value]
    return part.clone(**new) if isinstance(part, nn.Module) else dataclasses.replace(part, **new)  # type: ignore[type-var]
