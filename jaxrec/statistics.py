"""Inference for metrics over users and seeds: standard errors, tests, and tables of several settings.

A metric depends on the users that happen to be in the test split and on the seed that happened to be drawn for
initialization, example order and negatives. Both are random effects, and they are crossed: every model of a setting is
measured on every user. With S seeds, the variance of a setting's mean is

    V = V_users + V_seeds - V_users_x_seeds

V_users comes from the variance over users of their mean over seeds, and V_seeds from the variance over seeds of their
mean over users, s^2 / S. Each of the two contains the interaction of users and seeds once, which is why it is
subtracted once; this is also the two-way cluster-robust variance. V is at least as large as V_users and V_seeds. For
the difference of two settings, V_users is that of the paired differences of users, while the seeds of the settings are
independent of each other: each setting adds its own V_seeds and V_users_x_seeds. The estimate is compared with a t
distribution whose degrees of freedom are Satterthwaite's. With one seed on both sides this is the paired t-test over
users; without variation over users it is Welch's t-test over seeds.
[Clark 1973, F' for random subjects and items; Cornfield and Tukey 1956; Satterthwaite 1946; Welch 1947;
Cameron, Gelbach and Miller 2011]

Test periods (folds) are a third sample: rows are then those of all folds, with the users of each, and

    V = V_users + V_folds - V_users_x_folds + V_seeds - V_users_x_seeds

by the same rule for overlapping clusters. A mean over rows weights each fold by its number of users.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

LEVEL = 0.05  # of tests; intervals cover 1 - LEVEL


class Estimate(NamedTuple):
    """Estimate of a mean or a difference: value, squared standard error, degrees of freedom."""

    value: float
    variance: float
    dof: float

    def interval(self) -> tuple[float, float]:
        """Return the 95% interval of the t distribution; NaN if the variance is unknown."""
        from scipy import special  # here, because it takes long to import

        half = special.stdtrit(self.dof, 1 - LEVEL / 2) * np.sqrt(self.variance)
        return float(self.value - half), float(self.value + half)

    def p_value(self) -> float:
        """Return the two-sided p-value of the hypothesis that the true value is 0; NaN if the variance is unknown."""
        if self.variance == 0:
            return 1.0 if self.value == 0 else 0.0
        from scipy import special  # here, because it takes long to import

        return float(2 * special.stdtr(self.dof, -abs(self.value) / np.sqrt(self.variance)))


def estimate(
    values: Float[np.ndarray, "S R"],
    reference: Float[np.ndarray, "T R"] | None = None,
    units: Int[np.ndarray, "R"] | None = None,
    folds: Int[np.ndarray, "R"] | None = None,
) -> Estimate:
    """Estimate the mean over seeds and users, or its difference from that of a reference on the same users.

    Args:
        values: metric of each row (a user, or one of its steps) by seed; rows that are NaN anywhere are left out.
        reference: metric of the same rows for the reference, with its own seeds.
        units: user of each row, if users have several rows; None: one row per user.
        folds: test period of each row; None: one for all.

    Returns:
        The estimate. A side with a single seed adds no variance of seeds. The variance is NaN with fewer than two
        users.
    """
    groups = [np.asarray(group, np.float64) for group in (values, reference) if group is not None]
    defined = np.logical_and.reduce([np.isfinite(group).all(axis=0) for group in groups])
    groups = [group[:, defined] for group in groups]
    n_rows = int(defined.sum())
    if n_rows == 0:
        return Estimate(np.nan, np.nan, np.nan)
    owner, n_users = (np.arange(n_rows), n_rows) if units is None else _numbered(units[defined])
    of_rows = groups[0].mean(axis=0) - (groups[1].mean(axis=0) if len(groups) > 1 else 0.0)
    value = float(of_rows.mean())
    if n_users < 2:
        return Estimate(value, np.nan, np.nan)
    among_users = _of_clusters(of_rows[None] - value, owner, n_users)
    terms = [(among_users, n_users - 1.0)]  # parts of the variance with their degrees of freedom
    among_seeds = among_folds = 0.0
    if folds is not None and len(fold_names := np.unique(folds[defined])) > 1:
        fold, n_folds = np.searchsorted(fold_names, folds[defined]), len(fold_names)
        pair, n_pairs = _numbered(owner * n_folds + fold)
        among_folds = _of_clusters(of_rows[None] - value, fold, n_folds)
        terms += [(among_folds, n_folds - 1.0), (-_of_clusters(of_rows[None] - value, pair, n_pairs), n_pairs - 1.0)]
    for group in groups:
        if (n_seeds := len(group)) < 2:
            continue
        of_seeds, of_users = group.mean(axis=1, keepdims=True), group.mean(axis=0)
        own = float(of_seeds.var(ddof=1)) / n_seeds
        both = _of_clusters(group - of_seeds - of_users + group.mean(), owner, n_users) / (n_seeds * (n_seeds - 1))
        terms += [(own, n_seeds - 1.0), (-both, (n_seeds - 1.0) * (n_users - 1.0))]
        among_seeds += own
    variance = max(sum(part for part, _ in terms), among_users, among_seeds, among_folds)
    if variance == 0:
        return Estimate(value, 0.0, np.inf)
    return Estimate(value, variance, variance**2 / sum(part**2 / dof for part, dof in terms))


def over_seeds(values: Float[np.ndarray, "S"]) -> Estimate:
    """Estimate the mean over seeds alone, for metrics without a value per user; the variance of one seed is NaN."""
    n_seeds = len(values)
    if n_seeds < 2:
        return Estimate(float(np.mean(values)), np.nan, np.nan)
    return Estimate(float(np.mean(values)), float(np.var(values, ddof=1)) / n_seeds, n_seeds - 1.0)


def compared(
    named: Mapping[str, Float[np.ndarray, "S R"]],
    units: Int[np.ndarray, "R"] | None = None,
    without_seed: Collection[str] = (),
    folds: Int[np.ndarray, "R"] | None = None,
) -> pd.DataFrame:
    """Compare settings on the same users; the first is the reference.

    Args:
        named: metric of each row by seed, by name of the setting.
        units: user of each row, see `estimate`.
        without_seed: names of settings that use no random numbers, so that one seed is all there is.
        folds: test period of each row; None: one for all.

    Returns:
        One row per setting:

        - run, seeds: name and number of seeds;
        - value, low, high: mean with its 95% interval over users, seeds and folds;
        - sd: standard deviation of the metric over seeds; 0 for a setting without random numbers, NaN for one seed;
        - difference, difference_low, difference_high: to the reference, paired by user, with the same interval;
        - p: of that difference, by the t distribution over users, seeds and folds;
        - p_wilcoxon: of the signed-rank test of the users' differences, which ignores seeds.

        Both p-values have Holm's correction for the number of comparisons; intervals do not. The reference has NaN.
    """
    first = next(iter(named))
    rows, by_t, by_rank = [], [], []
    for name, values in named.items():
        own = estimate(values, units=units, folds=folds)
        sd = 0.0 if name in without_seed else np.nan
        if name not in without_seed and len(values) > 1:
            sd = float(np.std(np.nanmean(values, axis=1, dtype=np.float64), ddof=1))
        low, high = own.interval()
        row = {"run": name, "seeds": len(values), "value": own.value, "sd": sd, "low": low, "high": high}
        if name != first:
            paired = estimate(values, named[first], units, folds)
            low, high = paired.interval()
            row |= {"difference": paired.value, "difference_low": low, "difference_high": high}
            by_t.append(paired.p_value())
            by_rank.append(_signed_rank(values.mean(axis=0) - named[first].mean(axis=0), units))
        rows.append(row)
    columns = [*rows[0], "difference", "difference_low", "difference_high"]
    table = pd.DataFrame(rows, columns=columns)
    table["p"], table["p_wilcoxon"] = [np.nan, *holm(by_t)], [np.nan, *holm(by_rank)]
    return table


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values with Holm's correction, in their order; NaN is kept and not counted.  [Holm 1979]"""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values)  # NaN last
    n = int(np.isfinite(values).sum())
    scaled = np.minimum(1.0, values[order[:n]] * (n - np.arange(n)))
    adjusted = np.full(len(values), np.nan)
    adjusted[order[:n]] = np.maximum.accumulate(scaled)
    return adjusted.tolist()


def _of_clusters(deviations: Float[np.ndarray, "S R"], cluster: Int[np.ndarray, "R"], n_clusters: int) -> float:
    """Return the variance of the mean over rows, summed over seeds; deviations of one cluster are added first."""
    sums = [np.bincount(cluster, weights=row, minlength=n_clusters) for row in deviations]
    return float(np.square(sums).sum()) * n_clusters / (n_clusters - 1) / len(cluster) ** 2


def _numbered(names: Int[np.ndarray, "R"]) -> tuple[Int[np.ndarray, "R"], int]:
    """Return names as consecutive numbers from 0, and how many there are."""
    distinct, numbers = np.unique(names, return_inverse=True)
    return numbers, len(distinct)


def _signed_rank(differences: Float[np.ndarray, "R"], units: Int[np.ndarray, "R"] | None) -> float:
    """Return the p-value of the Wilcoxon signed-rank test of the users' mean differences; 1 if all are zero."""
    from scipy.stats import wilcoxon  # slow to import, and used by comparisons only

    defined = np.isfinite(differences)
    users = np.arange(len(differences)) if units is None else units
    of_users = pd.Series(differences[defined]).groupby(users[defined]).mean().to_numpy()
    return float(wilcoxon(of_users).pvalue) if np.any(of_users) else 1.0
