"""Popularity-based negative sampling."""

from dataclasses import dataclass

from pydantic import NonNegativeFloat

from jaxrec.negatives.uniform import Uniform


@dataclass(frozen=True)
class Popularity(Uniform):
    """Items drawn in proportion to (frequency in train)^power.   [Mikolov et al. 2013; Rendle et al. 2014]

    Attributes:
        power: 1 is the frequency in train, 0.75 the choice of word2vec, 0 uniform
    """

    power: NonNegativeFloat = 0.75  # type: ignore[misc]  # a field here, a constant above
