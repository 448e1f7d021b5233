"""Mixture of two samplers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.hyper import Share
from jaxrec.negatives.candidates import Negatives, SamplerContext, bernoulli, log
from jaxrec.negatives.sampler import Sampler
from jaxrec.random import RandomStream, substream

MIXTURE = 101  # number of the random substream that chooses the sampler of each negative


@dataclass(frozen=True, kw_only=True)
class Mixed(Sampler):
    """Each negative comes from `first` with probability `share`, else from `second`; both must draw per example.

    A softmax corrects by the probabilities of the mixture if those of both samplers are known.
    """

    first: Sampler
    second: Sampler
    share: Share = 0.5
    exclude_known: bool = False

    def __post_init__(self) -> None:
        if not all(isinstance(sampler, Sampler) and sampler.mixes for sampler in (self.first, self.second)):
            raise InputError(
                "negatives=mixed needs samplers that draw per example: choose uniform, popularity or dynamic for "
                "negatives.first and negatives.second"
            )

    def prepare(self, train: Interactions) -> PyTree:
        """Tables of both samplers, and log q of the mixture."""
        one, other = (sampler.prepare(train) for sampler in self._samplers())
        both = [sampler.probabilities(train) for sampler in self._samplers()]
        if both[0] is None or both[1] is None:
            return one, other, None
        return one, other, log(self.share * both[0] + (1 - self.share) * both[1])

    def __call__(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        context: SamplerContext | None = None,
    ) -> Negatives:
        """Draw [B, ratio] items of both samplers and keep one of the two for each negative."""
        assert context is not None
        draws = tuple(sampler.__call__ for sampler in self._samplers())
        return self._mixed(draws, source, examples, n_items, n_negatives, context, rows=examples)

    def shared(
        self,
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        context: SamplerContext,
    ) -> Negatives:
        """Draw one set [1, ratio] for all positions of a batch of windows."""
        draws = tuple(sampler.shared for sampler in self._samplers())
        return self._mixed(draws, source, examples, n_items, n_negatives, context, rows=examples[:1])

    def excluded(self, tables: PyTree, user: Int[Array, "B"], items: Int[Array, "1 N"]) -> Bool[Array, "B N"] | None:
        """Whether each user has these items in train; None unless `exclude_known`."""
        return self._samplers()[0].excluded(tables[0], user, items)

    def _mixed(
        self,
        draws: tuple[Callable[..., Negatives], ...],
        source: RandomStream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        context: SamplerContext,
        rows: Int[Array, "R"],
    ) -> Negatives:
        """Draw by both samplers, and for each row and column keep one of the two."""
        one, other = (
            draw(substream(source, 2 + i), examples, n_items, n_negatives, context._replace(tables=context.tables[i]))
            for i, draw in enumerate(draws)
        )
        column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        from_first = bernoulli(substream(source, MIXTURE), self.share, rows[:, None], column)
        return one.where(from_first, other, context.tables[2])

    def _samplers(self) -> tuple[Sampler, Sampler]:
        changes: dict[str, Any] = {"ratio": self.ratio, "exclude_known": self.exclude_known}
        return replace(self.first, **changes), replace(self.second, **changes)
