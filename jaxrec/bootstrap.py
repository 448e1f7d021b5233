"""Bootstrap over users: intervals of the mean of a metric, and the optimism of the best of several means."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

MAX_UNITS = 10_000  # more users than this are pooled into groups before resampling
CHUNK = 1_000_000  # draws per chunk: 8 MB of indices, 8 MB of values


class Corrected(NamedTuple):
    """The best of several means over users, corrected for having been chosen among them.

    Attributes:
        value: the best mean.
        corrected: what it would be on other users.
        low, high: 95% percentile interval of `corrected`.
        n: number of means it was chosen from.
    """

    value: float
    corrected: float
    low: float
    high: float
    n: int

    @property
    def optimism(self) -> float:
        """Share of the best mean that is due to the choice; negative if smaller means are better."""
        return self.value - self.corrected

    def __str__(self) -> str:
        """Return a phrase: `0.2652, about 0.0021 too high by chance (best of 32): 0.2631 (0.2540 to 0.2725)`."""
        side = "high" if self.optimism >= 0 else "low"
        size = abs(self.optimism)
        amount = f"about {size:.4f}" if size >= 0.00005 else "less than 0.0001"
        return (
            f"{self.value:.4f}, {amount} too {side} by chance (best of {self.n}): "
            f"{self.corrected:.4f} ({self.low:.4f} to {self.high:.4f})"
        )


def mean_and_interval(
    values: Float[np.ndarray, "U"],
    *,
    units: Int[np.ndarray, "U"] | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean over users whose value is not NaN, with its percentile bootstrap interval; all NaN if there are none.

    The interval covers the sampling of users for this model and this split; it does not cover training seeds. A single
    user gives an interval of zero width. More than 10,000 users are pooled at random into 10,000 groups, and groups are
    resampled: this preserves the mean and variance of the resampled mean, gives the width of the interval to about 1%,
    and bounds the cost.  [Efron 1979; Efron and Tibshirani 1993, chapter 13]

    Args:
        values: values of one metric, in any float type; sums are float64.
        units: user of each value, if users have several, such as the steps of a session: these are resampled together,
            and the interval is for the mean over values. None: one value per user.
        confidence: nominal coverage of the interval.
        n_resamples: number of bootstrap resamples.
        seed: random seed; the same seed gives the same interval.

    Returns:
        mean, low, high.
    """
    defined = ~np.isnan(values)
    known = values[defined].astype(np.float64)
    if known.size == 0:
        return np.nan, np.nan, np.nan
    rng = np.random.default_rng(seed)
    mean = known.mean()
    owner = np.arange(known.size) if units is None else np.unique(units[defined], return_inverse=True)[1]
    pool, n_units = pooled(owner, rng)
    # Resample deviations, not values: groups may differ in size, but the sum of deviations still has mean 0.
    sums = np.bincount(pool, weights=known - mean, minlength=n_units)
    rows = max(1, CHUNK // n_units)
    deviations = np.concatenate(
        [
            sums[rng.integers(n_units, size=(min(rows, n_resamples - start), n_units))].sum(axis=1)
            for start in range(0, n_resamples, rows)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = mean + np.quantile(deviations / known.size, [tail, 1 - tail])
    return float(mean), float(low), float(high)


def pooled(owner: Int[np.ndarray, "U"], rng: np.random.Generator) -> tuple[Int[np.ndarray, "U"], int]:
    """Return the group of each value and the number of groups: one per user, or `MAX_UNITS` random ones.

    Args:
        owner: user of each value, numbered from 0.
        rng: random numbers.
    """
    n_owners = int(owner.max()) + 1
    n_units = min(n_owners, MAX_UNITS)
    return rng.permutation(n_owners)[owner] % n_units, n_units


def best_corrected(
    sums: Float[np.ndarray, "T U"],
    counts: Float[np.ndarray, "T U"],
    *,
    larger_is_better: bool = True,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Corrected:
    """Correct the best of T means over users for the choice among them; NaN with fewer than two users.

    The best of several noisy means is too good: it is the one that these users favor. Here users are resampled, the
    best mean on the drawn users is chosen, and its mean over the users that were not drawn is recorded; the average
    over the resamples is the corrected value. It is computed as the best mean plus the average difference, on the users
    not drawn, between the chosen mean and the best one, which is exact for T = 1. The interval is that of the recorded
    means; as these are over fewer users than there are, it is slightly too wide.
    [Tsamardinos, Greasidou and Borboudakis 2018, bootstrap bias-corrected cross-validation]

    Args:
        sums, counts: sum and number of the values of each user, or group of users, for each mean; of equal means, the
            first is the best.
        larger_is_better: whether the best mean is the largest.
        confidence: nominal coverage of the interval.
        n_resamples: number of bootstrap resamples.
        seed: random seed; the same seed gives the same result.
    """
    sums, counts = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    (n, n_units), rng, sign = sums.shape, np.random.default_rng(seed), 1 if larger_is_better else -1
    means = sums.sum(axis=1) / counts.sum(axis=1)
    best = int(np.argmax(sign * means))
    rows, of_chosen, of_best = max(1, CHUNK // n_units), [], []
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        drawn = rng.integers(n_units, size=(size, n_units)) + n_units * np.arange(size)[:, None]
        n_drawn = np.bincount(drawn.ravel(), minlength=size * n_units).reshape(size, n_units).astype(np.float64)
        left_out = (n_drawn == 0).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            inside, outside = ((weights @ sums.T) / (weights @ counts.T) for weights in (n_drawn, left_out))
        chosen = np.argmax(np.where(np.isnan(inside), -np.inf, sign * inside), axis=1)
        of_chosen.append(outside[np.arange(size), chosen])
        of_best.append(outside[:, best])
    recorded, reference = np.concatenate(of_chosen), np.concatenate(of_best)
    is_defined = ~np.isnan(recorded) & ~np.isnan(reference)
    if not is_defined.any():
        return Corrected(float(means[best]), np.nan, np.nan, np.nan, n)
    tail = (1 - confidence) / 2
    low, high = np.quantile(recorded[is_defined], [tail, 1 - tail])
    corrected = means[best] + (recorded - reference)[is_defined].mean()
    return Corrected(float(means[best]), float(corrected), float(low), float(high), n)
