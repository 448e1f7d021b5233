"""Statistical tests of the hash generator, with fixed seeds, so that results never change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrec import random
from jaxrec.random import stream

# Compiled once per shape, which is faster than single operations.
bits, normals, substream = map(jax.jit, (random.bits, random.normals, random.substream))
integers = jax.jit(random.integers, static_argnums=1)
SOURCE = stream(jax.random.key(7))
MANY = jnp.arange(1 << 16)
of_each_stream = jax.jit(jax.vmap(lambda source: bits(source, jnp.uint32(5))))
streams_of_seeds = jax.jit(jax.vmap(lambda seed: stream(jax.random.key(seed))))
substreams = jax.jit(jax.vmap(substream, in_axes=(None, 0)))


def evenly(values: np.ndarray, n_buckets: int) -> bool:
    """Return whether bucket counts vary like those of independent draws, neither more nor less, by chi-square."""
    return 1e-3 < stats.chisquare(np.bincount(values, minlength=n_buckets)).pvalue < 1 - 1e-3


DRAWS = {
    "counters": lambda: bits(SOURCE, MANY),
    "rows and columns": lambda: bits(SOURCE, jnp.arange(1 << 12)[:, None], jnp.arange(16)[None, :]),
    "columns of one row": lambda: bits(SOURCE, jnp.uint32(3), MANY),
    "consecutive seeds": lambda: of_each_stream(streams_of_seeds(MANY.astype(jnp.uint32))),
    "consecutive substreams": lambda: of_each_stream(substreams(SOURCE, MANY)),
    "every 1,024th counter": lambda: bits(SOURCE, 1024 * MANY),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.slow
def test_bits_are_uniform(draw):
    values = np.asarray(draw()).ravel()
    assert len(values) == 1 << 16
    for shift in (0, 12, 24):  # low, middle and high bits, and pairs of neighboring values in 4 buckets
        assert evenly((values >> shift) & 255, 256), shift
        one, other = (values[:-1:2] >> shift) & 15, (values[1::2] >> shift) & 15
        assert evenly(16 * one + other, 256), shift


def test_every_input_bit_moves_every_output_bit_half_the_time():
    """2,000 random inputs of four words: two of the stream, two counters. A share has a deviation of 0.011."""
    n = 2000
    words = np.random.default_rng(0).integers(0, 1 << 32, (n, 4), np.uint32)
    draw = jax.jit(jax.vmap(lambda w: bits(w[:2], w[2], w[3])))
    base = np.asarray(draw(words))
    for word in range(4):
        flipped = np.repeat(words[None], 32, axis=0)
        flipped[:, :, word] ^= (np.uint32(1) << np.arange(32, dtype=np.uint32))[:, None]
        moved = base[None, :] ^ np.asarray(draw(flipped.reshape(-1, 4))).reshape(32, n)
        share = ((moved[:, None, :] >> np.arange(32, dtype=np.uint32)[None, :, None]) & 1).mean(axis=2)
        assert abs(share.mean() - 0.5) < 0.003, word
        assert np.abs(share - 0.5).max() < 0.06, word  # 1,024 shares: five deviations


def test_counters_never_collide():
    """For one stream the hash is a bijection of the counter."""
    assert len(np.unique(bits(SOURCE, MANY))) == 1 << 16


def test_draws_depend_on_row_and_column_only():
    few = bits(SOURCE, jnp.arange(10)[:, None], jnp.arange(3)[None, :])
    many = bits(SOURCE, jnp.arange(40)[:, None], jnp.arange(8)[None, :])
    np.testing.assert_array_equal(few, many[:10, :3])
    rows = jnp.array([7, 0, 7, 31])
    np.testing.assert_array_equal(bits(SOURCE, rows[:, None], jnp.arange(3)[None, :]), many[rows, :3])
    assert int(bits(SOURCE, jnp.int32(31), jnp.int32(2))) == int(many[31, 2])


def test_row_and_column_are_not_interchangeable():
    square = np.asarray(bits(SOURCE, jnp.arange(30)[:, None], jnp.arange(30)[None, :]))
    assert len(np.unique(square)) == 900


@pytest.mark.parametrize("below", [1, 2, 7, 100, 1000])
def test_integers_are_uniform_below_their_bound(below):
    values = np.asarray(integers(SOURCE, below, MANY))
    assert values.dtype == np.int32
    assert values.min() == 0
    assert values.max() == below - 1
    assert below == 1 or evenly(values, below)


def test_integers_reach_catalogs_of_any_size():
    values = np.asarray(integers(SOURCE, 2**31 - 1, MANY))
    assert values.min() >= 0
    assert stats.kstest(values / (2**31 - 1), "uniform").pvalue > 1e-3


def test_normal_draws_have_normal_moments():
    values = np.asarray(normals(SOURCE, jnp.arange(1 << 13)[:, None], jnp.arange(8)[None, :]), np.float64).ravel()
    n = len(values)
    assert stats.kstest(values, "norm").pvalue > 1e-3
    # Standard errors of the first four moments of n normal numbers: 1, 2, 15 and 96 over n, under the root.
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((values**power).mean() - moment) < 4 * np.sqrt(variance / n), power


def test_normal_draws_are_finite(monkeypatch):
    """The two extreme uniform draws, 2^-24 from 0 and from 1."""
    for word, uniform in [(0, 2.0**-24), (0xFFFFFFFF, 1 - 2.0**-24)]:
        monkeypatch.setattr(random, "bits", lambda *_, word=word: jnp.full(1, word, jnp.uint32))
        np.testing.assert_allclose(random.normals(SOURCE, jnp.arange(1)), stats.norm.ppf(uniform), rtol=1e-4)


OF_EPOCHS = jax.jit(jax.vmap(lambda source: normals(source, jnp.arange(20_000))))
INDEPENDENT = {
    "columns": lambda: normals(SOURCE, jnp.arange(20_000)[:, None], jnp.arange(8)[None, :]).T,
    "examples": lambda: normals(SOURCE, jnp.arange(8)[:, None], jnp.arange(20_000)[None, :]),
    "epochs": lambda: OF_EPOCHS(substreams(SOURCE, jnp.arange(8))),
    "seeds": lambda: OF_EPOCHS(streams_of_seeds(jnp.arange(8, dtype=jnp.uint32))),
}


@pytest.mark.parametrize("draw", INDEPENDENT.values(), ids=INDEPENDENT)
@pytest.mark.slow
def test_draws_are_uncorrelated(draw):
    """Correlations of 20,000 pairs have a deviation of 0.007; neighbors, and neighbors shifted by one."""
    values = np.asarray(draw(), np.float64)
    shifted = np.roll(values, 1, axis=1)
    across = np.corrcoef(np.concatenate([values, shifted]))
    assert np.abs(across - np.eye(16)).max() < 5 / np.sqrt(20_000)
    squares = np.corrcoef(values**2)
    assert np.abs(squares - np.eye(8)).max() < 5 / np.sqrt(20_000)


@pytest.mark.slow
def test_substreams_differ_from_one_another_and_from_their_parent():
    children = np.asarray(substreams(SOURCE, jnp.arange(1000)))
    grandchildren = np.concatenate([substreams(jnp.asarray(child), jnp.arange(10)) for child in children[:5]])
    everyone = np.concatenate([np.asarray(SOURCE)[None], children, grandchildren])
    assert len(np.unique(everyone, axis=0)) == 1 + 1000 + 50
    assert len(np.unique(everyone[:, 0])) == len(np.unique(everyone[:, 1])) == 1 + 1000 + 50
    other = np.asarray(substreams(stream(jax.random.key(8)), jnp.arange(1000)))
    assert not (children == other).any()


def test_a_traced_number_gives_the_substream_of_a_plain_one():
    np.testing.assert_array_equal(jax.jit(substream)(SOURCE, jnp.int32(3)), substream(SOURCE, 3))
