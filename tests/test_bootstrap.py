"""Bootstrap intervals against statistics and the plain bootstrap."""

import time
from math import sqrt

import numpy as np
import pytest

from jaxrec.bootstrap import mean_and_interval


@pytest.mark.parametrize("n_users", [100, 25_000])
def test_interval_of_many_users_is_the_normal_one(n_users):
    """mean ± 1.96 standard errors, with users pooled or not: by the central limit theorem, to a few percent."""
    values = np.sort(np.random.default_rng(1).normal(0.3, 0.2, n_users))  # sorted: pools must not be runs of neighbors
    mean, low, high = mean_and_interval(values, n_resamples=4000)
    error = values.std() / sqrt(n_users)
    assert mean == pytest.approx(values.mean())
    assert (high - mean) / error == pytest.approx(1.96, rel=0.08)
    assert (mean - low) / error == pytest.approx(1.96, rel=0.08)


def test_interval_holds_the_true_mean_as_often_as_it_says():
    """At 80 %, 300 repetitions hold it 240 times, give or take 7; four standard deviations are allowed."""
    rng = np.random.default_rng(2)
    held = 0
    for seed in range(300):
        _, low, high = mean_and_interval(rng.exponential(1.0, 200), confidence=0.8, n_resamples=200, seed=seed)
        held += low <= 1.0 <= high
    assert abs(held - 240) < 4 * sqrt(300 * 0.8 * 0.2)


def test_interval_is_the_plain_bootstrap():
    """Written out: resample users, take means, take percentiles; both estimates carry noise of their own."""
    values = np.random.default_rng(3).exponential(1.0, 30)  # skewed: the interval is not symmetric
    rng = np.random.default_rng(4)
    means = [rng.choice(values, 30).mean() for _ in range(20_000)]
    _, low, high = mean_and_interval(values, n_resamples=20_000)
    np.testing.assert_allclose([low, high], np.quantile(means, [0.025, 0.975]), atol=0.03 * (high - low))


def test_values_of_one_unit_are_drawn_together():
    """Copies of a value that share a unit tell no more than one of them; as units of their own they would."""
    values = np.random.default_rng(7).exponential(1.0, 40)
    order = np.random.default_rng(8).permutation(40 * 25)
    copies, units = np.repeat(values, 25)[order], np.repeat(np.arange(40) * 3, 25)[order]
    once = mean_and_interval(values)
    assert mean_and_interval(copies, units=units) == pytest.approx(once)
    alone = mean_and_interval(copies)
    assert alone[2] - alone[1] == pytest.approx((once[2] - once[1]) / 5, rel=0.15)  # sqrt(25) times as narrow
    unknown = np.append(copies, np.nan), np.append(units, 1)
    assert mean_and_interval(unknown[0], units=unknown[1]) == pytest.approx(once)


def test_interval_of_units_of_many_sizes_is_the_plain_bootstrap():
    """Written out: draw units with all their values, to first order, where a unit counts by its sum of deviations."""
    rng = np.random.default_rng(9)
    units = np.repeat(np.arange(30), rng.integers(1, 20, 30))
    values = rng.exponential(1.0, 30)[units] + rng.normal(0, 0.1, len(units))
    sums = np.array([(values[units == unit] - values.mean()).sum() for unit in range(30)])
    drawn = sums[rng.integers(30, size=(20_000, 30))].sum(axis=1) / len(values)
    _, low, high = mean_and_interval(values, units=units, n_resamples=20_000)
    expected = values.mean() + np.quantile(drawn, [0.025, 0.975])
    np.testing.assert_allclose([low, high], expected, atol=0.03 * (high - low))


def test_interval_is_set_by_its_seed():
    values = np.random.default_rng(5).random(50)
    assert mean_and_interval(values) == mean_and_interval(values)
    assert mean_and_interval(values)[1:] != mean_and_interval(values, seed=1)[1:]


def test_interval_leaves_out_users_with_nothing_to_find():
    values = np.array([0.25, 0.5, 1.0], np.float32)
    assert mean_and_interval(np.array([np.nan, 0.25, 0.5, np.nan, 1.0], np.float32)) == mean_and_interval(values)


def test_interval_of_one_user_of_none_and_of_equals():
    assert mean_and_interval(np.array([0.5])) == (0.5, 0.5, 0.5)
    assert np.isnan(mean_and_interval(np.array([np.nan]))).all()
    assert np.isnan(mean_and_interval(np.array([], np.float32))).all()
    assert mean_and_interval(np.full(25_001, 0.25)) == (0.25, 0.25, 0.25)


def test_interval_does_not_wait_for_many_users():
    """Work is capped: 1 M users cost about as many draws as 10,000. A generous bound, for busy machines."""
    values = np.random.default_rng(6).random(1_000_000)
    start = time.perf_counter()
    mean_and_interval(values)
    assert time.perf_counter() - start < 5
