"""Exact top k against a stable sort."""

import jax
import numpy as np
import pytest

from jaxrec import backend
from jaxrec.top_k import GROUP, MIN_ROWS, top_k

WAYS = ["lax", "groups", "maxima"]


# Around one, two, three, five and six groups; up to 2k groups all items are sorted, then only k groups.
@pytest.mark.parametrize(
    ("width", "ks"),
    [
        (1, [1]),
        (6, range(1, 7)),
        (GROUP - 1, [1, 5, GROUP - 1]),
        (GROUP, [1, GROUP]),
        (GROUP + 1, [1, GROUP + 1]),
        (2 * GROUP, [1]),
        pytest.param(2 * GROUP + 1, [1, 2, 2 * GROUP + 1], marks=pytest.mark.slow),
        pytest.param(5 * GROUP, [1, 2, 3], marks=pytest.mark.slow),
        (5 * GROUP + 1, [1, 2, 3]),
        pytest.param(16 * GROUP - 24, [1, 2, 5, 7, 8, 9, 16 * GROUP - 24], marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("n_copies", [1, 1 + MIN_ROWS // 24], ids=["few_rows", "many_rows"])
def test_top_k_is_a_stable_sort(width, ks, n_copies):
    rng = np.random.default_rng(width)
    scores = np.concatenate(
        [
            rng.normal(size=(4, width)),
            rng.integers(0, 3, (8, width)),  # many ties
            np.where(rng.random((4, width)) < 0.9, -np.inf, rng.integers(0, 2, (4, width))),
            np.where(np.arange(width) < width - 1, -np.inf, np.zeros((1, width))),  # only the last is left
            np.where(rng.random((4, width)) < 0.5, 0.0, -0.0),  # equal
            np.full((1, width), 3.0),
            np.full((1, width), -np.inf),
            np.arange(width, dtype=float)[None, :],  # the best are at the end, next to the padding
        ]
    ).astype(np.float32)
    scores = np.tile(scores, (n_copies, 1))
    for k in ks:
        values, items = jax.jit(top_k, static_argnums=1)(scores, k)
        expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(items, expected, err_msg=f"k={k}")
        np.testing.assert_array_equal(values, np.take_along_axis(scores, expected, axis=1), err_msg=f"k={k}")


@pytest.mark.parametrize("how", WAYS)
def test_vmapped_members_have_the_lists_they_have_alone(monkeypatch, how):
    """In every way, whatever the platform: two members of 33 rows with many ties."""
    monkeypatch.setattr(backend, "choices", lambda: backend.CHOICES["cpu"]._replace(top_k=how))
    scores = np.random.default_rng(5).integers(-2, 3, (2, MIN_ROWS + 1, 5 * GROUP + 1)).astype(np.float32)
    values, items = jax.jit(jax.vmap(lambda own: top_k(own, 2)))(scores)
    expected = np.argsort(-scores, axis=2, kind="stable")[:, :, :2]
    np.testing.assert_array_equal(items, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(scores, expected, axis=2))


def test_a_tpu_selects_from_the_rows_of_all_members_at_once(monkeypatch):
    """Its kernel is for two dimensions."""
    monkeypatch.setattr(backend, "choices", lambda: backend.CHOICES["tpu"])
    program = jax.jit(jax.vmap(lambda own: top_k(own, 2))).lower(np.zeros((3, 4, 50), np.float32)).as_text()
    assert "tensor<12x50xf32>" in program
    assert program.count("top_k(") == 1
