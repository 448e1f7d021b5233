"""Bootstrap intervals against statistics and the plain bootstrap."""

import time
from math import sqrt

import numpy as np
import pytest

from jaxrec.bootstrap import best_corrected, mean_and_interval


@pytest.mark.parametrize("n_users", [100, 25_000])
def test_interval_of_many_users_is_the_normal_interval(n_users):
    """Mean ± 1.96 standard errors within a few percent, by the central limit theorem, with users pooled or not."""
    values = np.sort(np.random.default_rng(1).normal(0.3, 0.2, n_users))  # sorted: pools must not consist of neighbors
    mean, low, high = mean_and_interval(values, n_resamples=4000)
    error = values.std() / sqrt(n_users)
    assert mean == pytest.approx(values.mean())
    assert (high - mean) / error == pytest.approx(1.96, rel=0.08)
    assert (mean - low) / error == pytest.approx(1.96, rel=0.08)


def test_the_coverage_of_intervals_is_the_nominal_one():
    """Of 300 intervals at 80%, 240 contain the true mean, with a deviation of 7; four deviations are allowed."""
    rng = np.random.default_rng(2)
    held = 0
    for seed in range(300):
        _, low, high = mean_and_interval(rng.exponential(1.0, 200), confidence=0.8, n_resamples=200, seed=seed)
        held += low <= 1.0 <= high
    assert abs(held - 240) < 4 * sqrt(300 * 0.8 * 0.2)


def test_interval_against_the_plain_bootstrap():
    """Resample users, take means, take percentiles; both estimates are noisy."""
    values = np.random.default_rng(3).exponential(1.0, 30)  # skewed: the interval is not symmetric
    rng = np.random.default_rng(4)
    means = [rng.choice(values, 30).mean() for _ in range(20_000)]
    _, low, high = mean_and_interval(values, n_resamples=20_000)
    np.testing.assert_allclose([low, high], np.quantile(means, [0.025, 0.975]), atol=0.03 * (high - low))


def test_values_of_one_unit_are_resampled_together():
    """Copies of a value in one unit count as one value; as separate units they would narrow the interval."""
    values = np.random.default_rng(7).exponential(1.0, 40)
    order = np.random.default_rng(8).permutation(40 * 25)
    copies, units = np.repeat(values, 25)[order], np.repeat(np.arange(40) * 3, 25)[order]
    once = mean_and_interval(values)
    assert mean_and_interval(copies, units=units) == pytest.approx(once)
    alone = mean_and_interval(copies)
    assert alone[2] - alone[1] == pytest.approx((once[2] - once[1]) / 5, rel=0.15)  # narrower by sqrt(25)
    unknown = np.append(copies, np.nan), np.append(units, 1)
    assert mean_and_interval(unknown[0], units=unknown[1]) == pytest.approx(once)


def test_interval_of_units_of_many_sizes_against_the_plain_bootstrap():
    """Resample units with all their values; to first order a unit contributes its sum of deviations."""
    rng = np.random.default_rng(9)
    units = np.repeat(np.arange(30), rng.integers(1, 20, 30))
    values = rng.exponential(1.0, 30)[units] + rng.normal(0, 0.1, len(units))
    sums = np.array([(values[units == unit] - values.mean()).sum() for unit in range(30)])
    drawn = sums[rng.integers(30, size=(20_000, 30))].sum(axis=1) / len(values)
    _, low, high = mean_and_interval(values, units=units, n_resamples=20_000)
    expected = values.mean() + np.quantile(drawn, [0.025, 0.975])
    np.testing.assert_allclose([low, high], expected, atol=0.03 * (high - low))


def test_the_seed_sets_the_interval_and_the_correction():
    values = np.random.default_rng(5).random(50)
    assert mean_and_interval(values) == mean_and_interval(values)
    assert mean_and_interval(values)[1:] != mean_and_interval(values, seed=1)[1:]
    several = np.random.default_rng(6).random((3, 50))
    first, same, other = (best_corrected(several, np.ones((3, 50)), n_resamples=50, seed=seed) for seed in (0, 0, 1))
    assert first == same
    assert first.corrected != other.corrected


def test_interval_excludes_users_without_relevant_items():
    values = np.array([0.25, 0.5, 1.0], np.float32)
    assert mean_and_interval(np.array([np.nan, 0.25, 0.5, np.nan, 1.0], np.float32)) == mean_and_interval(values)


def test_interval_of_one_user_of_no_users_and_of_equal_values():
    assert mean_and_interval(np.array([0.5])) == (0.5, 0.5, 0.5)
    assert np.isnan(mean_and_interval(np.array([np.nan]))).all()
    assert np.isnan(mean_and_interval(np.array([], np.float32))).all()
    assert mean_and_interval(np.full(25_001, 0.25)) == (0.25, 0.25, 0.25)


def test_interval_of_many_users_is_fast():
    """Work is bounded: 1 M users need about as many draws as 10,000. The time limit is generous, for busy machines."""
    values = np.random.default_rng(6).random(1_000_000)
    start = time.perf_counter()
    mean_and_interval(values)
    assert time.perf_counter() - start < 5


def test_the_best_of_equal_models_is_corrected_to_their_true_value():
    """30 equal means over 200 users, whose true value is .5: the best one is too high, the corrected one is not."""
    rng, best, corrected = np.random.default_rng(10), [], []
    for seed in range(200):
        values = 0.5 + rng.normal(0, 0.2, 200) + rng.normal(0, 0.3, (30, 200))  # effects of users, and noise
        found = best_corrected(values, np.ones_like(values), n_resamples=200, seed=seed)
        best.append(found.value)
        corrected.append(found.corrected)
        assert found.value == pytest.approx(values.mean(axis=1).max())
        assert found.low < found.corrected < found.high
    error = np.std(corrected) / sqrt(200)
    assert abs(np.mean(corrected) - 0.5) < 3 * error
    assert np.mean(best) - 0.5 > 10 * error


@pytest.mark.parametrize("sign", [1, -1])
def test_the_corrected_best_against_the_paper(sign):
    """Resample users, choose the best mean on them, average its values over the other users; both are noisy."""
    rng = np.random.default_rng(11)
    counts = rng.integers(1, 6, 40) * np.ones((5, 1))  # users have several values each
    sums = sign * counts * (0.3 + 0.1 * rng.random((5, 40)) + 0.01 * np.arange(5)[:, None])
    noted = []
    for _ in range(10_000):
        drawn = rng.integers(40, size=40)
        means = sums[:, drawn].sum(axis=1) / counts[:, drawn].sum(axis=1)
        others = np.setdiff1d(np.arange(40), drawn)
        chosen = np.argmax(sign * means)
        noted.append(sums[chosen, others].sum() / counts[chosen, others].sum())
    found = best_corrected(sums, counts, larger_is_better=sign > 0, n_resamples=10_000)
    error = np.std(noted) / sqrt(10_000)
    assert found.corrected == pytest.approx(np.mean(noted), abs=4 * error)
    low, high = np.quantile(noted, [0.025, 0.975])
    np.testing.assert_allclose([found.low, found.high], [low, high], atol=0.03 * (high - low))
    assert found.n == 5
    assert sign * found.optimism > 0
    side = {1: "too high", -1: "too low"}[sign]
    assert f"about {abs(found.optimism):.4f} {side} by chance (best of 5): {found.corrected:.4f} (" in str(found)


def test_a_single_mean_is_not_corrected():
    values = np.random.default_rng(12).random((1, 50))
    found = best_corrected(values, np.ones((1, 50)))
    assert found.optimism == 0
    assert found.value == found.corrected == pytest.approx(values.mean())
    assert f"{values.mean():.4f}, less than 0.0001 too high by chance (best of 1)" in str(found)
    assert best_corrected(np.repeat(values, 3, axis=0), np.ones((3, 50))).optimism == 0  # nor is one of equal means


def test_a_single_user_has_no_correction():
    found = best_corrected(np.array([[0.5], [0.7]]), np.ones((2, 1)))
    assert found.value == 0.7
    assert np.isnan([found.corrected, found.low, found.high]).all()
