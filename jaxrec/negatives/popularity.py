"""Negatives by how often items occur."""

from dataclasses import dataclass

from pydantic import NonNegativeFloat

from jaxrec.negatives.uniform import Uniform


@dataclass(frozen=True)
class Popularity(Uniform):
    """Items in proportion to (how often they occur in train)^power.   [Mikolov et al. 2013; Rendle et al. 2014]

    power: 1 as often as in the data, 0.75 as in word2vec, 0 uniform
    """

    power: NonNegativeFloat = 0.75  # type: ignore[misc]  # a field here, a constant above
