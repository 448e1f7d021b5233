"""Models, each a Flax module that derives from `Model`."""

from jaxrec.models.model import (
    Additive,
    Alternating,
    Factorized,
    FactorizedByRow,
    Model,
    Pairwise,
    Params,
    Prepared,
    Solved,
)

__all__ = [
    "Additive",
    "Alternating",
    "Factorized",
    "FactorizedByRow",
    "Model",
    "Pairwise",
    "Params",
    "Prepared",
    "Solved",
]
