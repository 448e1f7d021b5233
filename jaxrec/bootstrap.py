"""Bootstrap intervals of the mean of a metric over users."""

import numpy as np
from jaxtyping import Float, Int

MAX_UNITS = 10_000  # more users than this are pooled into groups before resampling
CHUNK = 1_000_000  # draws per chunk: 8 MB of indices, 8 MB of values


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
    resampled: this preserves the mean and variance of the resampled mean, gives the width of the interval to about 1 %,
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
    n_owners = int(owner.max()) + 1
    n_units = min(n_owners, MAX_UNITS)
    # Resample deviations, not values: groups may differ in size, but the sum of deviations still has mean 0.
    sums = np.bincount(rng.permutation(n_owners)[owner] % n_units, weights=known - mean, minlength=n_units)
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
