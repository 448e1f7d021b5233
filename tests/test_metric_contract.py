"""Every metric of jaxrec keeps every promise made for metrics. New metrics are tested automatically."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import metrics
from jaxrec.metric_names import KINDS, OF_ALL_LISTS, OF_LABELS, OF_LIST, OF_VALUES, metric
from jaxrec.metrics import METRICS
from tests.slow import some_slow

WIDTH = 5
# Score of a list full of hits if it is not 1, by the formulas of the papers.
FULL = {
    "rbp": lambda k: 1 - 0.8**k,
    "err": lambda k: sum(0.5**r / r for r in range(1, k + 1)),
}


def names(*kinds) -> list[str]:
    return [name for name in METRICS if metric(name).kind in kinds]


@pytest.fixture(params=some_slow(names(OF_LIST), "err", "rbp", "recall_min", "hit_rate"))
def of_list(request):
    """A metric of lists: hits [B, WIDTH] and n_relevant [B] → values [B]."""
    compiled = jax.jit(METRICS[request.param])

    def measured(hits, n_relevant) -> np.ndarray:
        return np.asarray(compiled(np.atleast_2d(np.array(hits, bool)), np.atleast_1d(np.array(n_relevant, np.int32))))

    measured.name = request.param
    return measured


def every_list() -> np.ndarray:
    """Return all 2^WIDTH lists."""
    return (np.arange(2**WIDTH)[:, None] >> np.arange(WIDTH)) & 1 > 0


def test_every_public_function_of_arrays_has_a_name():
    functions = {f for name, f in vars(metrics).items() if inspect.isfunction(f) and not name.startswith("_")}
    assert {f for f in functions if tuple(inspect.signature(f).parameters)[:2] in KINDS} == set(METRICS.values())


def test_lists_score_from_0_to_1(of_list):
    hits = every_list()
    for extra in (0, 1, 20):
        values = of_list(hits, np.maximum(hits.sum(axis=1) + extra, 1))
        assert ((values >= 0) & (values <= 1)).all()


def test_a_list_without_a_hit_scores_0(of_list):
    assert of_list([0] * WIDTH, 3) == 0


@pytest.mark.parametrize("n_relevant", [1, WIDTH, 9])
def test_the_best_possible_list(of_list, n_relevant):
    """All relevant items on top score 1, unless a metric counts more than fit, or FULL has another value."""
    hits = min(n_relevant, WIDTH)
    best = {"precision": hits / WIDTH, "recall": hits / n_relevant, "map_all": hits / n_relevant}
    expected = FULL[of_list.name](hits) if of_list.name in FULL else best.get(of_list.name, 1)
    assert of_list([1] * hits + [0] * (WIDTH - hits), n_relevant) == pytest.approx([expected], abs=1e-6)


def test_hits_on_top_are_best_and_moving_a_hit_up_never_hurts(of_list):
    for hits in every_list():
        for upper in range(WIDTH - 1):
            if not hits[upper] and hits[upper + 1]:
                moved = hits.copy()
                moved[[upper, upper + 1]] = True, False
                assert of_list(moved, WIDTH) >= of_list(hits, WIDTH) - 1e-6


def test_users_without_relevant_items_are_nan_and_others_are_not(of_list):
    values = of_list([[0] * WIDTH, [1] + [0] * (WIDTH - 1)], [0, 1])
    assert np.isnan(values).tolist() == [True, False]


def test_users_are_measured_independently(of_list):
    hits = np.random.default_rng(0).random((6, WIDTH)) < 0.4
    n_relevant = hits.sum(axis=1) + np.arange(1, 7)
    whole = of_list(hits, n_relevant)
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        np.testing.assert_array_equal(of_list(hits[rows], n_relevant[rows]), whole[rows])


@pytest.mark.parametrize("name", names(OF_ALL_LISTS))
def test_metrics_of_all_lists(name):
    """Worst value or NaN without items, best value for every item once, for any order of users."""
    function, is_larger_better = METRICS[name], metric(name).larger_is_better
    lists = np.array([[0, 1], [2, 0], [-1, -1]], np.int32)
    empty = float(function(jnp.full((3, 2), -1, jnp.int32), 4))
    assert empty == 0 if is_larger_better else np.isnan(empty)
    assert float(function(jnp.array([[0, 1], [2, 3]], jnp.int32), 4)) == is_larger_better
    assert 0 < float(function(jnp.asarray(lists), 4)) < 1
    assert float(function(jnp.asarray(lists[::-1]), 4)) == float(function(jnp.asarray(lists), 4))


@pytest.mark.parametrize("name", names(OF_VALUES, OF_LABELS))
def test_metrics_of_predictions(name):
    """Correct predictions are better than wrong ones, in the declared direction; row order has no effect."""
    chosen = metric(name)
    known = np.array([0.0, 1.0, 1.0, 0.0, 1.0], np.float32)
    right = known if chosen.kind == OF_VALUES else 100 * (known - 0.5)  # for labels, scores are logits
    measure = jax.jit(chosen)
    best, worst = float(measure(right, known)), float(measure(right[::-1] * -1, known))
    assert best == pytest.approx(1 if chosen.larger_is_better else 0, abs=1e-6)
    assert (best > worst) == chosen.larger_is_better
    order = np.array([4, 2, 0, 1, 3])
    guessed = np.array([0.3, 0.1, 0.9, 0.4, 0.6], np.float32)
    assert float(measure(guessed[order], known[order])) == pytest.approx(float(measure(guessed, known)))
    assert np.isnan(float(measure(np.zeros(0, np.float32), np.zeros(0, np.float32))))
