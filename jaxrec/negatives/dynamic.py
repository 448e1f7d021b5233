"""Dynamic negative sampling: the hardest of several random items under the current model."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.negatives.candidates import Negatives, SamplerContext
from jaxrec.negatives.popularity import Popularity
from jaxrec.negatives.sampler import SharedBy
from jaxrec.random import RandomStream


@dataclass(frozen=True)
class Dynamic(Popularity):
    """Draws `candidates` items for each negative and keeps the one with the highest score under the current model.

    Costs `ratio * candidates` extra scores per example, without gradients.
    [Zhang et al. 2013, Optimizing top-N collaborative filtering via dynamic negative item sampling]
    """

    power: NonNegativeFloat = 0.0  # type: ignore[misc]
    candidates: PositiveInt = 8

    shares: ClassVar[tuple[SharedBy, ...]] = ("position",)  # the hardest differs between positions

    def prepare(self, train: Interactions) -> PyTree:
        """Tables of the random candidates."""
        return self._drawn.prepare(train)

    def probabilities(self, train: Interactions) -> np.ndarray | None:
        """None: the probabilities depend on the model."""
        return None

    @property
    def _drawn(self) -> Popularity:
        return Popularity(self.ratio * self.candidates, self.exclude_known, self.power)

    def __call__(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        context: SamplerContext | None = None,
    ) -> Negatives:
        """Draw [B, ratio * candidates] items and keep [B, ratio]."""
        assert context is not None
        drawn = self._drawn(source, examples, n_items, n_negatives * self.candidates, context)
        shape = (len(examples), self.ratio, self.candidates)
        scores = jnp.where(drawn.used > 0, context.score(drawn.items), -jnp.inf).reshape(shape)
        best = jnp.argmax(scores, axis=2)[:, :, None]
        items = jnp.take_along_axis(drawn.items.reshape(shape), best, axis=2)[:, :, 0]
        return Negatives(items, jnp.max(drawn.used.reshape(shape), axis=2))
