"""Re-ranking steps, named as in conf/rerank and applied in sequence: each maps a shortlist to a shortlist.

Steps that change scores (freshness) come before those that select by scores (diversity, exposure, calibration); a cap
keeps the existing order. `knob` is the hyperparameter of a step's trade-off, `metric` the metric that it improves.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import jax.numpy as jnp
from pydantic import PositiveInt

from jaxrec.hyper import Share, Traced
from jaxrec.rerank.diversity import dpp, mmr
from jaxrec.rerank.fairness import calibrated, within_band
from jaxrec.rerank.freshness import freshened
from jaxrec.rerank.rules import allowed, capped
from jaxrec.rerank.shortlist import RerankContext, Shortlist


class Step(Protocol):
    """A re-ranking step: a frozen dataclass of hyperparameters, which may be traced."""

    knob: ClassVar[str | None]
    metric: ClassVar[str | None]

    def __call__(self, shortlist: Shortlist, context: RerankContext) -> Shortlist:
        """Apply the step to ranked candidates."""


@dataclass(frozen=True)
class Mmr:
    """Maximal marginal relevance; see `diversity.mmr`."""

    strength: Share | Traced = 0.3
    knob: ClassVar[str | None] = "strength"
    metric: ClassVar[str | None] = "diversity"

    def __call__(self, shortlist: Shortlist, context: RerankContext) -> Shortlist:
        """Selected items first, then the others."""
        vectors = context.items.vectors[shortlist.items]
        return shortlist.with_first(mmr(shortlist.scores, vectors, self.strength, k=context.k))


@dataclass(frozen=True)
class Dpp:
    """Greedy determinantal point process; see `diversity.dpp`."""

    strength: Share | Traced = 0.1
    knob: ClassVar[str | None] = "strength"
    metric: ClassVar[str | None] = "diversity"

    def __call__(self, shortlist: Shortlist, context: RerankContext) -> Shortlist:
        """Selected items first, then the others."""
        vectors = context.items.vectors[shortlist.items]
        return shortlist.with_first(dpp(shortlist.scores, vectors, self.strength, k=context.k))


@dataclass(frozen=True)
class Freshness:
    """Boost for new items; see `freshness.freshened`. The half-life is `items.half_life`."""

    strength: Share | Traced = 0.2
    knob: ClassVar[str | None] = "strength"
    metric: ClassVar[str | None] = "freshness"

    def __call__(self, shortlist: Shortlist, context: RerankContext) -> Shortlist:
        """Sorted by the new scores, which later steps use."""
        ages = context.items.ages[shortlist.items]
        return by_score(
            shortlist._replace(scores=freshened(shortlist.scores, ages, self.strength, context.items.half_life))
        )


@dataclass(frozen=True)
class Exposure:
    """Exposure of item groups within a band around their targets; see `fairness.within_band`."""

    band: Share | Traced = 0.1
    knob: ClassVar[str | None] = "band"
    metric: ClassVar[str | None] = "exposure_disparity"

    def __call__(self, shortlist: Shortlist, context: RerankContext) -> Shortlist:
        """Selected items first, then the others."""
        groups = context.items.groups[shortlist.items]
        return shortlist.with_first(within_band(shortlist.scores, groups, context.items.target, self.band, k=context.k))


@dataclass(frozen=True)
class Calibration:
    """Calibration to the category distribution of the user's history; see `fairness.calibrated`."""

    strength: Share | Traced = 0.5
    knob: ClassVar[str | None] = "strength"
    metric: ClassVar[str | None] = "calibration_error"

    def __call__(self, shortlist: Shortlist, context: RerankContext) -> Shortlist:
        """Selected items first, then the others."""
        mixes = context.items.mixes[shortlist.items]
        return shortlist.with_first(calibrated(shortlist.scores, mixes, context.own, self.strength, k=context.k))


@dataclass(frozen=True)
class Available:
    """Only available items: `items.available` and `items.without`."""

    knob: ClassVar[str | None] = None
    metric: ClassVar[str | None] = None

    def __call__(self, shortlist: Shortlist, context: RerankContext) -> Shortlist:
        """Remaining items in their existing order."""
        return shortlist.filtered(allowed(shortlist.scores, context.items.available[shortlist.items]) > -float("inf"))


@dataclass(frozen=True)
class Cap:
    """Maximum number of items per category; see `rules.capped`. An item counts in each of its categories."""

    limit: PositiveInt | Traced = 3
    knob: ClassVar[str | None] = "limit"
    metric: ClassVar[str | None] = "diversity"

    def __call__(self, shortlist: Shortlist, context: RerankContext) -> Shortlist:
        """Remaining items in their existing order."""
        return shortlist.filtered(capped(shortlist.items >= 0, context.items.mixes[shortlist.items] > 0, self.limit))


def by_score(shortlist: Shortlist) -> Shortlist:
    """Sort by score; ties keep their order."""
    return shortlist.ordered(jnp.argsort(-shortlist.scores, axis=1, stable=True))
