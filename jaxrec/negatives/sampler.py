"""Base class of negative samplers: the interface that `jaxrec.fitting` uses, with defaults."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PyTree
from pydantic import PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Padded, Traced
from jaxrec.negatives.candidates import Negatives, SamplerContext
from jaxrec.random import RandomStream

SharedBy = Literal["position", "user", "batch"]  # positions of sequences that use the same negatives


@dataclass(frozen=True)
class Sampler(ABC):
    """Draws negatives for the examples of a batch, on the device inside the compiled epoch.

    A custom sampler is a frozen dataclass that derives from this class and defines `__call__`.

    Attributes:
        ratio: number of negatives per example, the largest of a population.
        n_negatives: number in use, None: all; these first columns are what a member would draw if trained alone.
        mixes: whether negatives are drawn independently for each example, so that `negatives=mixed` can combine them
            with those of another sampler. Such a sampler also has a field `exclude_known`.
        shares: which positions of sequences may use the same negatives: `position` (each draws its own), `user` (those
            of a window), `batch` (all, see `shared`).
    """

    ratio: Annotated[PositiveInt, Padded("n_negatives")] = 4
    n_negatives: int | Traced | None = field(default=None, kw_only=True)

    mixes: ClassVar[bool] = False
    shares: ClassVar[tuple[SharedBy, ...]] = ("position", "user", "batch")

    @property
    def in_use(self) -> Int[Array, ""]:
        """Number of negatives in use."""
        return jnp.asarray(self.ratio if self.n_negatives is None else self.n_negatives, jnp.int32)

    def prepare(self, train: Interactions) -> PyTree:
        """Return tables computed once from the training data, on the host; by default none."""
        return None

    def probabilities(self, train: Interactions) -> np.ndarray | None:
        """Return the sampling probability of each item, float64 [I]; None if unknown, the default."""
        return None

    def draw(
        self, source: RandomStream, examples: Int[Array, "B"], n_items: int, context: SamplerContext | None = None
    ) -> Negatives:
        """Draw negatives, `n_negatives` of which are in use; see `__call__`."""
        return self(source, examples, n_items, self.in_use, context)

    def shared(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        context: SamplerContext,
    ) -> Negatives:
        """Draw one set [1, N] for all positions of a batch of windows; `excluded` masks it for each user.

        `context.positive` are the targets of all positions, -1 for none. The first example identifies the batch.
        """
        first = context._replace(user=context.user[:1], positive=context.positive[:1])
        return self(source, examples[:1], n_items, n_negatives, first)

    def excluded(self, tables: PyTree, user: Int[Array, "B"], items: Int[Array, "1 N"]) -> Bool[Array, "B N"] | None:
        """Whether items must not be negatives of a user; None: no item is excluded.

        Args:
            tables: result of `prepare`.
            user: users of the batch.
            items: a set that `shared` has drawn.
        """
        return None

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
