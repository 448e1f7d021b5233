"""Steps of re-ranking, as conf/rerank names them: a shortlist in, another out; one after the other.

Steps that add to scores (freshness) come before those that choose by them (diversity, exposure, calibration); a cap
works on the order that it finds. `knob` is the number whose trade-off is worth a look, `metric` what the step is for.
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
from jaxrec.rerank.shortlist import About, Shortlist


class Step(Protocol):
    """A frozen dataclass of numbers, which may be traced."""

    knob: ClassVar[str | None]
    metric: ClassVar[str | None]

    def __call__(self, listed: Shortlist, about: About) -> Shortlist:
        """The list after this step."""


@dataclass(frozen=True)
class Mmr:
    """Maximal marginal relevance; see `diversity.mmr`."""

    strength: Share | Traced = 0.3
    knob: ClassVar[str | None] = "strength"
    metric: ClassVar[str | None] = "diversity"

    def __call__(self, listed: Shortlist, about: About) -> Shortlist:
        """Those chosen, then the others."""
        vectors = about.items.vectors[listed.items]
        return listed.led_by(mmr(listed.scores, vectors, self.strength, k=about.k))


@dataclass(frozen=True)
class Dpp:
    """A determinantal point process, greedily; see `diversity.dpp`."""

    strength: Share | Traced = 0.1
    knob: ClassVar[str | None] = "strength"
    metric: ClassVar[str | None] = "diversity"

    def __call__(self, listed: Shortlist, about: About) -> Shortlist:
        """Those chosen, then the others."""
        vectors = about.items.vectors[listed.items]
        return listed.led_by(dpp(listed.scores, vectors, self.strength, k=about.k))


@dataclass(frozen=True)
class Freshness:
    """A say for what is new; see `freshness.freshened`. The half-life is that of `items.half_life`."""

    strength: Share | Traced = 0.2
    knob: ClassVar[str | None] = "strength"
    metric: ClassVar[str | None] = "freshness"

    def __call__(self, listed: Shortlist, about: About) -> Shortlist:
        """By the new scores, which later steps see."""
        ages = about.items.ages[listed.items]
        return by_score(listed._replace(scores=freshened(listed.scores, ages, self.strength, about.items.half_life)))


@dataclass(frozen=True)
class Exposure:
    """Groups' shares of exposure in a band around their targets; see `fairness.within_band`."""

    band: Share | Traced = 0.1
    knob: ClassVar[str | None] = "band"
    metric: ClassVar[str | None] = "exposure_disparity"

    def __call__(self, listed: Shortlist, about: About) -> Shortlist:
        """Those chosen, then the others."""
        groups = about.items.groups[listed.items]
        return listed.led_by(within_band(listed.scores, groups, about.items.target, self.band, k=about.k))


@dataclass(frozen=True)
class Calibration:
    """The mix of categories of the user's own history; see `fairness.calibrated`."""

    strength: Share | Traced = 0.5
    knob: ClassVar[str | None] = "strength"
    metric: ClassVar[str | None] = "calibration_error"

    def __call__(self, listed: Shortlist, about: About) -> Shortlist:
        """Those chosen, then the others."""
        mixes = about.items.mixes[listed.items]
        return listed.led_by(calibrated(listed.scores, mixes, about.own, self.strength, k=about.k))


@dataclass(frozen=True)
class Available:
    """Only what may be shown: `items.available` and `items.without`."""

    knob: ClassVar[str | None] = None
    metric: ClassVar[str | None] = None

    def __call__(self, listed: Shortlist, about: About) -> Shortlist:
        """What is left, in its order."""
        return listed.only(allowed(listed.scores, about.items.available[listed.items]) > -float("inf"))


@dataclass(frozen=True)
class Cap:
    """So many items of a category, at most; see `rules.capped`. An item of several takes a place in each."""

    limit: PositiveInt | Traced = 3
    knob: ClassVar[str | None] = "limit"
    metric: ClassVar[str | None] = "diversity"

    def __call__(self, listed: Shortlist, about: About) -> Shortlist:
        """What is left, in its order."""
        return listed.only(capped(listed.items >= 0, about.items.mixes[listed.items] > 0, self.limit))


def by_score(listed: Shortlist) -> Shortlist:
    """In the order of scores, equal ones as they stood."""
    return listed.ordered(jnp.argsort(-listed.scores, axis=1, stable=True))
