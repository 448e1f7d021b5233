"""Statistics over users and seeds against scipy, analysis of variance by hand, and simulations under the null."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from jaxrec.statistics import Estimate, compared, estimate, holm, over_seeds
from tests.slow import some_slow


def simulated(rng, n_seeds, n_users, *, users=0.3, setting=0.1, seeds=0.02, noise=0.1):
    """Return metrics [S, R] of two settings with equal means: effects of users, users by setting, seeds, and noise."""
    shared = users * rng.normal(size=n_users)
    return [
        shared
        + setting * rng.normal(size=n_users)
        + seeds * rng.normal(size=(n, 1))
        + noise * rng.normal(size=(n, n_users))
        for n in n_seeds
    ]


def test_with_one_seed_each_it_is_the_paired_t_test():
    a, b = simulated(np.random.default_rng(0), (1, 1), 50)
    expected = stats.ttest_rel(a[0], b[0])
    found = estimate(a, b)
    assert found.p_value() == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9)
    alone = stats.ttest_1samp(a[0], 0)
    assert estimate(a).interval() == pytest.approx(tuple(alone.confidence_interval(0.95)), rel=1e-9)


def test_without_variation_over_users_it_is_welchs_test_of_seeds():
    a, b = (np.random.default_rng(1).normal(size=n)[:, None] + np.zeros(20) for n in (4, 7))
    expected = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    found = estimate(a, b)
    assert found.p_value() == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9)


def test_variance_and_degrees_of_freedom_by_hand():
    # Two seeds by two users: seed means 1 and 3, user means 1.5 and 2.5, interaction (0.5, -0.5; -0.5, 0.5).
    values = np.array([[1.0, 1.0], [2.0, 4.0]])
    # Users: (0.25 + 0.25) / 1 / 2 = 0.25. Seeds: 2 / 2 = 1. Both: 4 * 0.25 / (1 * 1) / (2 * 2) = 0.25.
    found = estimate(values)
    assert found.value == 2
    assert found.variance == pytest.approx(0.25 + 1 - 0.25)
    assert found.dof == pytest.approx(1.0**2 / (0.25**2 / 1 + 1**2 / 1 + 0.25**2 / 1))


@pytest.mark.parametrize(
    ("values", "variance"),
    [
        ([[0.0, 2.0], [3.0, 1.0]], 0.25),  # seeds: 0.5 / 2; users: 0; both: 4 * 1 / (2 * 2) = 1
        ([[0.0, 4.0], [1.0, 3.0]], 2.25),  # users: 2 * 1.5^2 / 2; seeds: 0; both: 4 * 0.25 / (2 * 2) = 0.25
    ],
)
def test_the_variance_is_at_least_that_of_users_and_of_seeds(values, variance):
    assert estimate(np.array(values)).variance == pytest.approx(variance)


def test_the_variance_against_mean_squares():
    # Crossed random effects: var(mean) = (MS_users + MS_seeds - MS_both) / (S R).  [Cornfield and Tukey 1956]
    values = simulated(np.random.default_rng(2), (4,), 30, seeds=0.1)[0]
    n_seeds, n_users = values.shape
    users = n_seeds * values.mean(axis=0).var(ddof=1)
    seeds = n_users * values.mean(axis=1).var(ddof=1)
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    both = np.square(rest).sum() / ((n_seeds - 1) * (n_users - 1))
    assert estimate(values).variance == pytest.approx((users + seeds - both) / (n_seeds * n_users), rel=1e-9)


def test_rows_of_a_user_count_as_one():
    rng = np.random.default_rng(3)
    a, b = simulated(rng, (3, 2), 40)
    units = np.repeat(np.arange(40), 5)
    copies = [np.repeat(values, 5, axis=1) for values in (a, b)]
    assert estimate(*copies, units) == pytest.approx(estimate(a, b), rel=1e-9)
    assert estimate(*copies).variance < estimate(a, b).variance
    order = rng.permutation(200)
    assert estimate(*(values[:, order] for values in copies), units[order]) == pytest.approx(estimate(a, b), rel=1e-9)


def test_users_without_a_value_are_left_out():
    a, b = simulated(np.random.default_rng(4), (2, 3), 30)
    kept = np.arange(30) >= 4
    expected = estimate(a[:, kept], b[:, kept])
    a[0, :3], b[1, 3] = np.nan, np.nan
    assert estimate(a, b) == expected


def test_extremes():
    assert np.isnan(estimate(np.array([[np.nan]])).value)
    one = estimate(np.array([[0.5]]))
    assert one.value == 0.5
    assert np.isnan([*one.interval(), one.p_value()]).all()
    same = np.full((2, 10), 0.25)
    assert estimate(same).interval() == (0.25, 0.25)
    assert estimate(same, same).p_value() == 1
    assert Estimate(0.1, 0.0, np.inf).p_value() == 0
    assert np.isnan(over_seeds(np.array([0.5])).variance)
    expected = stats.ttest_1samp([1.0, 2.0, 4.0], 0).confidence_interval(0.95)
    assert over_seeds(np.array([1.0, 2.0, 4.0])).interval() == pytest.approx(tuple(expected), rel=1e-9)


@pytest.mark.parametrize(
    "effects",
    [
        {"setting": 0.1, "seeds": 0.02},  # users and seeds alike
        {"setting": 0.0, "seeds": 0.02},  # two groups of seeds of identical settings
        {"setting": 0.1, "seeds": 0.0},
    ],
)
@pytest.mark.parametrize("n_seeds", some_slow([(3, 3), (8, 8)], (8, 8)))
def test_under_the_null_one_in_twenty_is_significant_and_without_seeds_many_are(n_seeds, effects):
    rng = np.random.default_rng(5)
    samples = [simulated(rng, n_seeds, 100, **effects) for _ in range(1000)]
    rate = np.mean([estimate(a, b).p_value() < 0.05 for a, b in samples])
    assert 0.025 < rate < 0.07  # three standard errors around 5% are 2.9 to 7.1%
    if effects["seeds"]:
        assert np.mean([estimate(a[:1], b[:1]).p_value() < 0.05 for a, b in samples]) > 0.2


def test_folds_with_users_of_their_own_count_as_one_each():
    # Nested clusters: the variance is that of the mean of four fold means.
    values = np.random.default_rng(9).normal(size=(1, 80)) + np.repeat([0.0, 1.0, 3.0, 4.0], 20)
    means = values.reshape(4, 20).mean(axis=1)
    found = estimate(values, folds=np.repeat(np.arange(4), 20))
    assert found.value == pytest.approx(means.mean())
    assert found.variance == pytest.approx(means.var(ddof=1) / 4, rel=1e-9)
    assert found.dof == pytest.approx(3, rel=0.01)


def test_folds_that_agree_add_nothing():
    # Every user has the same value in each fold: the variance is that over users.
    values = np.random.default_rng(10).normal(size=(1, 30))
    found = estimate(np.tile(values, 3), units=np.tile(np.arange(30), 3), folds=np.repeat(np.arange(3), 30))
    assert found.variance == pytest.approx(estimate(values).variance, rel=1e-9)


@pytest.mark.parametrize("of_folds", [0.0, 0.1])
def test_under_the_null_one_in_twenty_is_significant_over_folds(of_folds):
    """Half of the users of a fold are also in the next; models differ by fold."""
    rng = np.random.default_rng(11)
    units = np.concatenate([np.arange(100) + 50 * fold for fold in range(6)])
    folds = np.repeat(np.arange(6), 100)
    found = [
        estimate(
            (0.1 * rng.normal(size=350))[units][None]
            + (of_folds * rng.normal(size=6))[folds]
            + 0.2 * rng.normal(size=600),
            units=units,
            folds=folds,
        ).p_value()
        for _ in range(1000)
    ]
    assert 0.01 < np.mean(np.array(found) < 0.05) < 0.08


def test_a_true_difference_is_found():
    rng = np.random.default_rng(6)
    found = [estimate(a + 0.1, b) for a, b in (simulated(rng, (5, 5), 200) for _ in range(100))]
    assert np.mean([each.p_value() < 0.05 for each in found]) > 0.9
    assert 0.88 <= np.mean([each.interval()[0] < 0.1 < each.interval()[1] for each in found]) <= 1


def test_holm_by_hand():
    # Sorted .01 .02 .03 .5: times 4, 3, 2, 1 and never below the previous one.
    assert holm([0.5, 0.03, 0.01, 0.02]) == pytest.approx([0.5, 0.06, 0.04, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([np.nan, 0.03, 0.02]) == pytest.approx([np.nan, 0.04, 0.04], nan_ok=True)
    assert holm([]) == []


def test_a_table_has_the_tests_of_scipy_and_says_which_seeds_are_unknown():
    a, b = simulated(np.random.default_rng(7), (3, 1), 60)
    c = simulated(np.random.default_rng(8), (1,), 60)[0]
    table = compared({"a": a, "b": b, "c": c}, without_seed=["c"]).set_index("run")
    assert table["seeds"].tolist() == [3, 1, 1]
    assert table["sd"].tolist() == pytest.approx([a.mean(axis=1).std(ddof=1), np.nan, 0], nan_ok=True)
    by_rank = [stats.wilcoxon(each[0] - a.mean(axis=0)).pvalue for each in (b, c)]
    expected = [min(1, 2 * min(by_rank)), max(2 * min(by_rank), max(by_rank))]
    assert sorted(table["p_wilcoxon"][1:]) == pytest.approx(expected, rel=1e-9)
    assert table["difference"].tolist() == pytest.approx(
        [np.nan, b.mean() - a.mean(), c.mean() - a.mean()], nan_ok=True
    )
    low, high = estimate(b, a).interval()
    assert table.loc["b", ["difference_low", "difference_high"]].tolist() == pytest.approx([low, high])
    assert pd.isna(table.loc["a", ["difference", "p", "p_wilcoxon"]]).all()


def test_a_table_counts_users_and_folds_not_rows():
    a, b = simulated(np.random.default_rng(12), (2, 2), 60, noise=0.3)
    units, folds = np.repeat(np.arange(20), 3), np.tile(np.arange(3), 20)
    table = compared({"a": a, "b": b}, units, folds=folds).set_index("run")
    differences = (b - a).mean(axis=0).reshape(20, 3).mean(axis=1)  # one per user
    assert table.loc["b", "p_wilcoxon"] == pytest.approx(stats.wilcoxon(differences).pvalue, rel=1e-9)
    paired = estimate(b, a, units, folds)
    assert paired.variance != pytest.approx(estimate(b, a, units).variance, rel=0.1)
    assert table.loc["b", "p"] == pytest.approx(paired.p_value(), rel=1e-9)
    assert table.loc["b", ["difference_low", "difference_high"]].tolist() == pytest.approx(paired.interval(), rel=1e-9)
    assert table.loc["a", ["low", "high"]].tolist() == pytest.approx(estimate(a, None, units, folds).interval())
