"""The numbers that members of one population may differ in."""

import dataclasses
from typing import Annotated, NamedTuple, TypeVar

import flax.linen as nn
from jaxtyping import Array, Float, Int
from pydantic import Field

Traced = Float[Array, ""] | Int[Array, ""]  # what a number of the configuration is inside a program
Share = Annotated[float, Field(ge=0, le=1)]
Module = TypeVar("Module", bound=nn.Module)


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
    n_neighbours: Int[Array, "*P"] | None = None  # neighbours in use of those kept
    dropout: Float[Array, "*P"] | None = None  # share of numbers that training zeroes; None: as the model says
    temperature: Float[Array, "*P"] | None = None  # divides scores


def with_hyper(model: Module, hyper: Hyper) -> Module:
    """The model with those of its fields that `Hyper` names set to the member's own numbers."""
    own = {field.name for field in dataclasses.fields(model)} & set(Hyper._fields)
    numbers = {name: getattr(hyper, name) for name in own}
    return model.clone(**{name: number for name, number in numbers.items() if number is not None})
