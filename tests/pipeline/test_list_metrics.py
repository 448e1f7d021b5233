"""Metrics of lists against loops over their definitions in numpy."""

import itertools

import jax
import numpy as np
import pytest

from jaxrec.metrics import calibration_error
from jaxrec.pipeline import list_metrics as m

LISTS, K, D, G, ITEMS, USERS = 9, 6, 4, 3, 30, 50

intra_list_diversity, popularity = map(jax.jit, (m.intra_list_diversity, m.popularity))
exposure_disparity = jax.jit(m.exposure_disparity)
novelty = jax.jit(m.novelty, static_argnums=1)
exposure, mean_freshness = (jax.jit(f, static_argnums=2) for f in (m.exposure, m.mean_freshness))


@pytest.fixture(scope="module")
def lists():
    """Return lists of 0, 1, 2, … items: the first is empty, some are short."""
    rng = np.random.default_rng(1)
    items = np.stack([rng.permutation(ITEMS)[:K] for _ in range(LISTS)]).astype(np.int32)
    listed = np.arange(K)[None, :] < np.minimum(np.arange(LISTS), K)[:, None]
    vectors = rng.normal(size=(ITEMS, D)).astype(np.float32)
    vectors[3] = 0
    counts = rng.integers(0, 40, ITEMS).astype(np.float32)
    mixes = rng.dirichlet([0.4] * G, ITEMS).astype(np.float32)
    mixes[5] = 0
    own = rng.dirichlet([1.0] * G, LISTS).astype(np.float32)
    own[4] = 0
    groups = rng.integers(0, G, ITEMS).astype(np.int32)
    found = {"items": items, "listed": listed, "vectors": vectors, "counts": counts, "groups": groups}
    return found | {"mixes": mixes, "own": own}


def on_device(*arrays):
    return [jax.numpy.asarray(array) for array in arrays]


def of_each(lists, value):
    """Return the value of each list by a function of its items."""
    return [value(b, lists["items"][b][lists["listed"][b]]) for b in range(LISTS)]


def mean(values):
    return np.mean(values) if len(values) else np.nan


def test_intra_list_diversity(lists):
    items, listed, vectors = lists["items"], lists["listed"], lists["vectors"]
    length = np.linalg.norm(vectors, axis=1)

    def cosine(i, j):
        return vectors[i] @ vectors[j] / (length[i] * length[j]) if length[i] * length[j] else 0.0

    found = intra_list_diversity(*on_device(vectors[items], listed))
    expected = of_each(lists, lambda b, own: mean([1 - cosine(i, j) for i, j in itertools.combinations(own, 2)]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isnan(found[:2]).all()
    assert not np.isnan(found[2:]).any()


def test_novelty_and_popularity(lists):
    counts = lists["counts"]
    given = on_device(counts[lists["items"]], lists["listed"])
    bits = of_each(lists, lambda b, own: mean([np.log2(USERS / max(counts[i], 1)) for i in own]))
    np.testing.assert_allclose(novelty(given[0], USERS, given[1]), bits, rtol=1e-5)
    popular = of_each(lists, lambda b, own: mean(counts[own]))
    np.testing.assert_allclose(popularity(*given), popular, rtol=1e-6)


def test_exposure_and_its_disparity(lists):
    target = np.array([0.5, 0.3, 0.2], np.float32)
    exposed = exposure(*on_device(lists["groups"][lists["items"]], lists["listed"]), G)

    def by_group(b, own):
        total = np.zeros(G)
        for rank, item in enumerate(own, 1):
            total[lists["groups"][item]] += 1 / np.log2(rank + 1)
        return total

    expected = np.array(of_each(lists, by_group))
    np.testing.assert_allclose(exposed, expected, rtol=1e-5)
    with np.errstate(invalid="ignore"):
        gaps = np.abs(expected / expected.sum(1, keepdims=True) - target).sum(1) / 2
    np.testing.assert_allclose(exposure_disparity(exposed, *on_device(target)), gaps, rtol=1e-5)
    together = np.abs(expected.sum(0) / expected.sum() - target).sum() / 2
    np.testing.assert_allclose(exposure_disparity(exposed.sum(axis=0), *on_device(target)), together, rtol=1e-5)


def test_calibration_error(lists):
    mixes, own = lists["mixes"], lists["own"]

    def error(b, items):
        total = mixes[items].sum(axis=0)
        if not total.sum() or not own[b].sum():
            return np.nan
        smooth = 0.99 * total / total.sum() + 0.01 * own[b]
        return (own[b] * np.log(own[b] / smooth)).sum()

    mix = jax.jit(m.category_mix)(*on_device(mixes[lists["items"]], lists["listed"]))
    found = jax.jit(calibration_error)(mix, *on_device(own))
    np.testing.assert_allclose(found, of_each(lists, error), rtol=1e-4, atol=1e-6)
    assert np.isnan(found[jax.numpy.array([0, 4])]).all()


def test_mean_freshness(lists):
    ages = np.linspace(0, 40, ITEMS, dtype=np.float32)
    ages[::4] = np.nan
    known = of_each(lists, lambda b, own: mean([2 ** (-ages[i] / 7) for i in own if i % 4]))
    found = mean_freshness(*on_device(ages[lists["items"]], lists["listed"]), 7.0)
    np.testing.assert_allclose(found, known, rtol=1e-5)
