"""Base class of negative samplers: the interface that `jaxrec.fitting` uses, with defaults."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree
from pydantic import PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Padded, Traced
from jaxrec.negatives.candidates import Negatives, SamplerContext
from jaxrec.random import RandomStream


@dataclass(frozen=True)
class Sampler(ABC):
    """Draws negatives for the examples of a batch, on the device inside the compiled epoch.

    A custom sampler is a frozen dataclass that derives from this class and defines `__call__`.

    Attributes:
        ratio: number of negatives per example, the largest of a population.
        n_negatives: number in use, None: all; these first columns are what a member would draw if trained alone.
        mixes: whether negatives are drawn independently for each example, so that `negatives=mixed` can combine them
            with those of another sampler. Such a sampler also has a field `exclude_known`.
    """

    ratio: Annotated[PositiveInt, Padded("n_negatives")] = 4
    n_negatives: int | Traced | None = field(default=None, kw_only=True)

    mixes: ClassVar[bool] = False

    def prepare(self, train: Interactions) -> PyTree:
        """Return tables computed once from the training data, on the host; by default none."""
        return None

    def probabilities(self, train: Interactions) -> np.ndarray | None:
        """Return the sampling probability of each item, float64 [I]; None if unknown, the default."""
        return None

    def draw(
        self, source: RandomStream, examples: Int[Array, "B"], n_items: int, context: SamplerContext | None = None
    ) -> Negatives:
        """Draw negatives, of which `n_negatives` are in use; see `__call__`."""
        n_negatives = jnp.asarray(self.ratio if self.n_negatives is None else self.n_negatives, jnp.int32)
        return self(source, examples, n_items, n_negatives, context)

    @abstractmethod
    def __call__(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        context: SamplerContext | None = None,
    ) -> Negatives:
        """Draw negatives [B, ratio], or [1, N] that the whole batch shares.

        Args:
            source: the random stream of the epoch; draw by position, see `jaxrec.random`.
            examples: positions of the batch's examples in the training data.
            n_items: size of the catalog.
            n_negatives: number of columns in use.
            context: the tables of `prepare`, users, positives and scores of the batch; None for a loss that gives none.
        """
