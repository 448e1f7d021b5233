"""The base class of samplers of negatives: what `jaxrec.fitting` asks of one, with defaults."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Array, Int, PyTree
from pydantic import PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.negatives.candidates import Negatives, SamplerContext
from jaxrec.random import RandomStream


@dataclass(frozen=True)
class Sampler(ABC):
    """Draws negatives for the examples of a batch, on the device inside the compiled epoch.

    A sampler of one's own is a frozen dataclass that derives from this and defines `__call__`.

    Attributes:
        ratio: the number of negatives of each example, the largest in a population; a member uses its first
            `n_negatives` columns, which are what it would draw alone.
        mixes: whether it draws for each example by itself, so that `negatives=mixed` may take single negatives of it.
            Such a sampler also has a field `exclude_known`.
    """

    ratio: PositiveInt = 4

    mixes: ClassVar[bool] = False

    def prepare(self, train: Interactions) -> PyTree:
        """Return the tables that the sampler needs of the data, made once on the host; by default none."""
        return None

    def probabilities(self, train: Interactions) -> np.ndarray | None:
        """Return how likely each item is to be drawn, float64 [I]; None where that is unknown, the default."""
        return None

    @abstractmethod
    def __call__(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        given: SamplerContext | None = None,
    ) -> Negatives:
        """Draw negatives [B, ratio], or [1, N] that the whole batch shares.

        Args:
            source: the random stream of the epoch; draw by position, see `jaxrec.random`.
            examples: positions of the batch's examples in the training data.
            n_items: the size of the catalog.
            n_negatives: how many columns count.
            given: the tables of `prepare`, users, positives and scores of the batch; None for a loss that gives none.
        """
