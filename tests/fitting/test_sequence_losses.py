"""Sequence losses against plain sums, and their gradients against plain autodiff."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxrec import backend
from jaxrec.data.interactions import Interactions
from jaxrec.fitting import pairwise_softmax, sequence_losses
from jaxrec.fitting.sequence_losses import GBCE, Sampled, Softmax, catalog_cross_entropy
from jaxrec.fitting.sequence_negatives import Draw
from jaxrec.losses import gbce, softmax
from jaxrec.models.mixture import Components, PairGate
from jaxrec.negatives.batch_shared import BatchShared
from jaxrec.negatives.dynamic import Dynamic
from jaxrec.negatives.hard import Hard
from jaxrec.negatives.in_batch import InBatch
from jaxrec.negatives.mixed import Mixed
from jaxrec.negatives.popularity import Popularity
from jaxrec.negatives.uniform import Uniform
from tests.slow import some_slow

ROWS, LENGTH, DIM, ITEMS = 3, 5, 4, 9
SOURCE = jnp.array([5, 6], jnp.uint32)
USERS = 12
TRAIN = Interactions(
    np.repeat(np.arange(USERS), 2).astype(np.int32),
    np.arange(2 * USERS, dtype=np.int32) % ITEMS,  # items 0 to 5 three times, the others twice
    None,
    None,
    None,
    np.arange(USERS),
    np.arange(ITEMS),
)
FREQUENCY = np.array([3, 3, 3, 3, 3, 3, 2, 2, 2]) / 24
ROW = jnp.arange(ROWS)


def case(seed: int = 0) -> tuple:
    """Return vectors, targets with gaps, weights that are 0 at gaps, and item vectors."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, ITEMS, (ROWS, LENGTH))
    target[0, :3], target[2, 4] = -1, -1
    weight = np.where(target >= 0, rng.uniform(0.5, 2, target.shape), 0)
    h, vectors = rng.normal(size=(ROWS, LENGTH, DIM)), rng.normal(size=(ITEMS, DIM))
    return *(jnp.asarray(x, jnp.float32) for x in (h, weight, vectors)), jnp.asarray(target, jnp.int32)


def drawing(sampler, rows, target, mined=None) -> Draw:
    """Return a function that draws negatives for a batch of windows; row r is user 2 r + 1."""
    user = jnp.asarray(2 * np.arange(USERS // 2, dtype=np.int32) + 1)
    return Draw(sampler, SOURCE, ITEMS, user, sampler.prepare(TRAIN), mined, rows, target)


@pytest.mark.parametrize("block", some_slow([1, 4, 7, 256], 1, 7, 256))
def test_catalog_cross_entropy_and_its_gradient(monkeypatch, block):
    """For any block size: weighted sum and gradient by plain autodiff, scaled by the incoming gradient."""
    monkeypatch.setattr(sequence_losses, "BLOCK", block)
    h, weight, vectors, target = case()

    def plain(h, vectors):
        logits = jax.nn.log_softmax(h @ vectors.T, axis=2)
        chosen = jnp.take_along_axis(logits, jnp.maximum(target, 0)[:, :, None], axis=2)[:, :, 0]
        return -3 * jnp.sum(weight * chosen)

    def blockwise(h, vectors):
        flat = h.reshape(-1, DIM), vectors, target.reshape(-1), weight.reshape(-1)
        return 3 * catalog_cross_entropy(*flat)

    expected, found = (jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(h, vectors) for f in (plain, blockwise))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)
    np.testing.assert_array_equal(found[1][0][np.asarray(weight) == 0], 0)


def compared(seed: int = 0) -> tuple:
    """Return a comparison that is no dot product, and vectors for it: 2 components of a query and 3 of an item."""
    rng = np.random.default_rng(seed)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    gate = PairGate(normal(6, 2), normal(2), normal(2, 6), normal(6))
    compare = Partial(Components(n_query=2, n_item=3, dim=DIM), gate)
    return compare, normal(ROWS, LENGTH, 2 * DIM + 7), normal(ITEMS, 3 * DIM + 7)


@pytest.mark.parametrize("is_cpu", [True, False], ids=["cpu", "accelerator"])
def test_pairwise_cross_entropy_and_its_gradient(monkeypatch, is_cpu):
    """Of scores that are no dot products: value and all gradients, also those of the gate, by plain autodiff."""
    monkeypatch.setattr(pairwise_softmax, "POSITIONS", 4)
    if not is_cpu:
        monkeypatch.setattr(pairwise_softmax, "FLOATS", 1)
        own = backend.choices()._replace(branches=False, loss_block=4 * ITEMS)
        monkeypatch.setattr(backend, "choices", lambda: own)
    compare, h, vectors = compared()
    _, weight, _, target = case()

    def plain(compare, h, vectors):
        logits = jax.nn.log_softmax(compare(h.reshape(-1, h.shape[2]), vectors.T), axis=1)
        chosen = jnp.take_along_axis(logits, jnp.maximum(target, 0).reshape(-1, 1), axis=1)[:, 0]
        return -3 * jnp.sum(weight.reshape(-1) * chosen)

    def blockwise(compare, h, vectors):
        return 3 * Softmax()(h, target, weight, vectors, ROW, None, compare)

    expected, found = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))(compare, h, vectors) for f in (plain, blockwise)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)
    np.testing.assert_array_equal(found[1][1][np.asarray(weight) == 0], 0)


@pytest.mark.parametrize("tiled", [True, False], ids=["cpu", "accelerator"])
@pytest.mark.parametrize("share", ["position", "user", "batch"])
def test_sampled_costs_of_scores_that_are_no_dot_products(monkeypatch, share, tiled):
    """With the scores of all pairs at hand; dynamic negatives are chosen by the same scores."""
    own = backend.choices()._replace(tiled=tiled)
    monkeypatch.setattr(backend, "choices", lambda: own)
    compare, h, vectors = compared()
    _, weight, _, target = case()
    rows = jnp.array([4, 0, 2])
    draw = drawing(Dynamic(3, candidates=4) if share == "position" else Uniform(6), rows, target)

    def plain(compare, h, vectors):
        """All pairs are scored, and one-hot vectors take the place of items."""
        scores = compare(h.reshape(-1, h.shape[2]), vectors.T).reshape(ROWS, LENGTH, ITEMS)
        return Sampled(softmax, share)(scores, target, weight, jnp.eye(ITEMS), rows, draw)

    def found_by(compare, h, vectors):
        return Sampled(softmax, share)(h, target, weight, vectors, rows, draw, compare)

    expected, found = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))(compare, h, vectors) for f in (plain, found_by)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_positions_without_targets_cost_nothing():
    h, weight, vectors, target = case()
    value, gradient = jax.jit(jax.value_and_grad(lambda h: Softmax()(h, target, 0 * weight, vectors, ROW, None)))(h)
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, 0)


def test_large_scores_neither_overflow_nor_vanish():
    h, weight, vectors, target = case()
    value = jax.jit(lambda h: Softmax()(h, target, weight, vectors, ROW, None))(1e3 * h)
    scores = 1e3 * np.asarray(h, np.float64) @ np.asarray(vectors, np.float64).T
    largest = scores.max(axis=2)
    lse = np.log(np.exp(scores - largest[:, :, None]).sum(axis=2)) + largest
    chosen = np.take_along_axis(scores, np.maximum(np.asarray(target), 0)[:, :, None], axis=2)[:, :, 0]
    assert float(value) == pytest.approx(float(np.sum(np.asarray(weight) * (lse - chosen))), rel=1e-4)


KINDS = list(itertools.product(["softmax", "gbce"], ["position", "user", "batch"]))
BY_DEFAULT = [("softmax", "position"), ("gbce", "batch")]


@pytest.mark.parametrize(
    ("loss", "share"),
    [pytest.param(*kind, marks=[] if kind in BY_DEFAULT else pytest.mark.slow) for kind in KINDS],
)
def test_sampled_costs(loss, share):
    """Position by position; a negative equal to the target does not count."""
    h, weight, vectors, target = case()
    rows, n = jnp.array([4, 0, 2]), 12  # more negatives than items: the target is among them
    cost = Sampled(softmax, share) if loss == "softmax" else GBCE(0.75, share)
    found = jax.jit(lambda h: cost(h, target, weight, vectors, rows, drawing(Uniform(n), rows, target)))(h)
    items_of = jax.jit(lambda number: Uniform(n)(SOURCE, number[None], ITEMS, jnp.int32(n)).items[0])
    one = jax.jit(lambda *pair: softmax(*pair) if loss == "softmax" else gbce(*pair, n_items=ITEMS, t=0.75))
    expected, drawn = 0.0, set()
    h, weight, vectors, target = map(np.asarray, (h, weight, vectors, target))
    for b in range(ROWS):
        for t in range(LENGTH):
            number = {"position": int(rows[b]) * 4096 + LENGTH - 1 - t, "user": int(rows[b]), "batch": int(rows[0])}[
                share
            ]
            items = np.asarray(items_of(np.int32(number)))
            drawn.add(tuple(items))
            used = (items != target[b, t]).astype(np.float32)[None]
            positive, negatives = h[b, t] @ vectors[target[b, t]], h[b, t] @ vectors[items].T
            expected += float(weight[b, t]) * float(one(positive[None], negatives[None], used)[0])
    assert len(drawn) == {"position": ROWS * LENGTH, "user": ROWS, "batch": 1}[share]
    assert float(found) == pytest.approx(expected, rel=1e-4)


def numpy_softmax(h, vectors, target, weight, items, used, log_q=None) -> float:
    """Weighted sum over positions of the cross-entropy of the target among itself and its negatives [B, T, N]."""
    total = 0.0
    for b, t in zip(*np.nonzero(weight), strict=True):
        s = vectors @ h[b, t] - (0 if log_q is None else log_q)
        mine = [item for item, use in zip(items[b, t], used[b, t], strict=True) if use and item != target[b, t]]
        total += weight[b, t] * (np.log(np.exp(s[[target[b, t], *mine]]).sum()) - s[target[b, t]])
    return total


SAMPLERS = {
    "popularity": (Popularity(6, power=1.0), "user"),
    "batch_shared": (BatchShared(50, exclude_known=True), "batch"),
    "in_batch": (InBatch(20), "batch"),
    "mixed": (Mixed(6, first=Popularity(power=1.0), second=Uniform()), "batch"),
    "dynamic": (Dynamic(3, candidates=4), "position"),
    "hard": (Hard(4, ranks=(1, 2), share=1.0), "position"),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_at_positions(name):
    """Negatives come from the sampler's distribution; the softmax, corrected by log q if known, equals numpy's."""
    sampler, share = SAMPLERS[name]
    h, weight, vectors, target = case()
    rows = jnp.array([4, 0, 2])  # of users 9, 1 and 5
    mined = jnp.asarray([[user % ITEMS] * 2 for user in range(USERS)]) if name == "hard" else None
    draw = drawing(sampler, rows, target, mined)
    cost = Sampled(softmax, share, corrected=True)
    both = jax.jit(lambda h: (cost(h, target, weight, vectors, rows, draw), draw(share, rows, h, target, vectors)))
    found, drawn = both(h)
    shape = (ROWS, LENGTH, drawn.items.shape[2])
    items, used = (np.broadcast_to(x, shape) for x in drawn[:2])
    log_q = {
        "popularity": np.log(FREQUENCY),
        "in_batch": np.log(FREQUENCY),
        "mixed": np.log((FREQUENCY + 1 / ITEMS) / 2),
    }.get(name)
    h, weight, vectors, target = map(np.asarray, (h, weight, vectors, target))
    match name:
        case "in_batch":
            assert set(items.flat) <= set(target[target >= 0])
            assert len(set(items.flat)) > 4
        case "batch_shared":
            for row, known in enumerate(([0, 1], [2, 3], [1, 2])):
                assert not used[row][np.isin(items[row], known)].any()
            assert used.mean() > 0.4
        case "hard":
            of_user = np.broadcast_to(np.array([0, 1, 5])[:, None, None], shape)
            np.testing.assert_array_equal(items[used > 0], of_user[used > 0])
            assert used.any()
        case "dynamic":
            draw_12 = jax.jit(lambda number: Popularity(12, power=0.0)(SOURCE, number, ITEMS, jnp.int32(12)).items[0])
            candidates = np.asarray(draw_12(jnp.array([4 * 4096])))
            best = [part[np.argmax(vectors[part] @ h[0, -1])] for part in candidates.reshape(3, 4)]
            np.testing.assert_array_equal(items[0, -1], best)
    assert float(found) == pytest.approx(numpy_softmax(h, vectors, target, weight, items, used, log_q), rel=1e-4)
