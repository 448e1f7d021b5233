"""HSTU and attention bias by time: loops in numpy, whole seconds, and no bias for unknown times."""

from math import exp, floor, log

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.history import History
from jaxrec.models.hstu import HSTU
from jaxrec.models.relative_bias import MAX_DISTANCE, TIME_BUCKETS, time_buckets
from jaxrec.models.sasrec import SASRec
from jaxrec.models.sequence import Context
from jaxrec.query import Query
from jaxrec.ranking import QueryRows, query_of

ITEMS, LENGTH, DIM, HEADS = 7, 6, 4, 2
QUERY_DIM, VALUE_DIM = 3, 5
SIZES = {"n_items": ITEMS, "history_length": LENGTH, "embedding_dim": DIM, "n_heads": HEADS, "n_blocks": 2}
MODEL = HSTU(**SIZES, query_dim=QUERY_DIM, value_dim=VALUE_DIM, time_bias=True)
# The second history begins in the middle of an hour-long pause and has an event of unknown time.
DAY = 86_400.0
HISTORY = History(
    jnp.array([[6, 1, 2, 3, 4, 0], [-1, -1, 3, 0, 5, 5]]),
    gap=jnp.array([[0, 1.4, 59, 4 * DAY, 0, 400 * DAY], [0, 0, 3600, 20, -1, 7]]),
)
TIMES = [[0, 1, 60, 60 + 4 * DAY, 60 + 4 * DAY, 60 + 404 * DAY], [0, 20, 1000, 1007]]  # in whole seconds
UNKNOWN = {(2, 0), (2, 1), (3, 0), (3, 1)}  # pairs of the second history


def params_of(model) -> dict:
    """Return random values for every parameter, also for tables that are initialized to zero."""
    query = Query(jnp.zeros(1, jnp.int32), History(jnp.full((1, LENGTH), -1), gap=jnp.zeros((1, LENGTH))))
    shapes = jax.eval_shape(model.init, jax.random.key(0), query, jnp.zeros((1, 1), jnp.int32))
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0.3, 0.6, x.shape), jnp.float32), shapes)


def encode(model, params, history: History):
    context = Context(history, jnp.zeros(len(history.items), jnp.int32))
    return jax.jit(lambda p: model.apply(p, history.items, None, context, method="encode"))(params)


def normal(x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-6)


def silu(x):
    return x / (1 + np.exp(-x))


def by_loops(p: dict, items: list[int], times: list[float], unknown: set[tuple[int, int]]) -> np.ndarray:
    """Return the outputs for one history without padding, by loops over queries, heads and keys."""
    n = len(items)
    x = [2.0 * p["item_embedding"]["table"][items[t]] + p["position_embedding"]["table"][t - n] for t in range(n)]
    for block in (p["blocks_0"], p["blocks_1"]):
        projected = [silu(normal(entry) @ block["split"]["kernel"]) for entry in x]
        ends = np.cumsum([HEADS * VALUE_DIM, HEADS * VALUE_DIM, HEADS * QUERY_DIM])
        u, v, q, k = zip(*(np.split(entry, ends) for entry in projected), strict=True)
        after = []
        for i in range(n):
            sums = np.zeros(HEADS * VALUE_DIM)
            for head in range(HEADS):
                of_value, of_query = (slice(head * d, head * d + d) for d in (VALUE_DIM, QUERY_DIM))
                for j in range(i + 1):
                    logit = q[i][of_query] @ k[j][of_query] + block["distance"][head, i - j]
                    if (i, j) not in unknown:
                        logit += block["elapsed"][head, floor(log(max(1, times[i] - times[j])) / 0.301)]
                    sums[of_value] += silu(logit) / LENGTH * v[j][of_value]
            after.append(x[i] + (normal(sums) * u[i]) @ block["output"]["kernel"] + block["output"]["bias"])
        x = after
    return np.array([normal(entry) * p["norm"]["scale"] + p["norm"]["bias"] for entry in x])


def test_against_explicit_loops():
    params = params_of(MODEL)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])
    found = encode(MODEL, params, HISTORY)
    np.testing.assert_allclose(found[0], by_loops(p, [6, 1, 2, 3, 4, 0], TIMES[0], set()), rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(found[1, 2:], by_loops(p, [3, 0, 5, 5], TIMES[1], UNKNOWN), rtol=2e-4, atol=2e-5)


def test_sums_are_divided_by_the_maximum_history_length():
    """Normalization hides the divisor, except for sums about as small as its epsilon of 1e-6."""
    params = jax.tree.map(lambda x: x / 20, params_of(MODEL))
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])
    cut = History(HISTORY.items[1:, 2:], gap=HISTORY.gap[1:, 2:])
    expected = by_loops(p, [3, 0, 5, 5], TIMES[1], UNKNOWN)
    np.testing.assert_allclose(encode(MODEL, params, cut)[0], expected, rtol=2e-4, atol=2e-6)


def test_cosines_with_a_temperature():
    params = params_of(MODEL)
    query = Query(jnp.zeros(2, jnp.int32), HISTORY)
    cosines = MODEL.clone(temperature=0.5)
    found = jax.jit(lambda p: cosines.apply(p, query, method="score_catalog"))(params)
    h, table = (
        np.asarray(encode(MODEL, params, HISTORY)[:, -1]),
        np.asarray(params["params"]["item_embedding"]["table"]),
    )
    length = lambda x: np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    np.testing.assert_allclose(found, 2 * (h / length(h)) @ (table / length(table)).T, rtol=1e-4)


def test_buckets_of_the_time_between_events():
    gap = jnp.array([[0, 1, 0.4, 1.6, 1e6, 3e8, 5]])  # a float could not represent a sum to 5 seconds
    found = np.asarray(jax.jit(time_buckets)(gap, jnp.ones((1, 7), bool)))[0]
    # exp(.301) is 1.35 and exp(.602) 1.83, so 2 seconds are in bucket 2, and 3 in bucket 3 (exp(.903) is 2.47).
    assert found[3, :4].tolist() == [3, 2, 2, 0]
    assert found[2, :3].tolist() == [0, 0, 0]
    assert found[6, 5:].tolist() == [floor(log(5) / 0.301), 0] == [5, 0]
    assert found[5, 4] == found[5, 0] == TIME_BUCKETS - 1
    last = exp((TIME_BUCKETS - 1) * 0.301)
    edge = jax.jit(time_buckets)(jnp.array([[0, last * 0.999], [0, last * 1.001]]), jnp.ones((2, 2), bool))
    assert np.asarray(edge)[:, 1, 0].tolist() == [TIME_BUCKETS - 2, TIME_BUCKETS - 1]


def test_an_unknown_time_and_padding_have_no_buckets():
    found = np.asarray(time_buckets(HISTORY.gap, HISTORY.items >= 0))[1]
    known = np.tril(found >= 0)[2:, 2:]
    assert (found[:2] == -1).all()
    assert (found[:, :2] == -1).all()
    assert {(i, j) for i in range(4) for j in range(i + 1) if not known[i, j]} == UNKNOWN


@pytest.mark.parametrize("kind", [HSTU, SASRec])
def test_each_time_affects_only_outputs_from_its_event_on(kind):
    """The gap of an event changes outputs from there on; a gap without an earlier event changes none."""
    model = kind(**SIZES, time_bias=True)
    params = params_of(model)
    before = np.asarray(encode(model, params, HISTORY))
    for place in range(1, LENGTH):
        other = HISTORY._replace(gap=HISTORY.gap.at[0, place].add(4000 * DAY))
        moved = np.abs(np.asarray(encode(model, params, other)) - before).max(axis=2) > 0
        assert moved[0].tolist() == [False] * place + [True] * (LENGTH - place)
        assert not moved[1].any()
    first = HISTORY._replace(gap=HISTORY.gap.at[0, 0].set(40 * DAY).at[1, 2].set(-1))
    np.testing.assert_array_equal(encode(model, params, first), before)


def test_an_unknown_time_between_events_adds_no_bias():
    params = params_of(MODEL)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])
    every = {(i, j) for i in range(LENGTH) for j in range(i)}  # an event is 0 seconds from itself
    expected = by_loops(p, [6, 1, 2, 3, 4, 0], TIMES[0], every)
    for gap in (jnp.full_like(HISTORY.gap, -1), None):
        found = encode(MODEL, params, HISTORY._replace(gap=gap))
        np.testing.assert_allclose(found[0], expected, rtol=2e-4, atol=2e-5)


def test_softmax_attention_has_the_time_bias_too():
    """One block with one head, by hand: attention weights of the last event, from logits and biases."""
    model = SASRec(ITEMS, LENGTH, embedding_dim=DIM, n_blocks=1, normalize="pre", relative=True, time_bias=True)
    params = params_of(model)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])
    items, block = [6, 1, 2, 3, 4, 0], p["blocks_0"]

    def norm(x, part):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-8) * part["scale"] + part["bias"]

    x = [2.0 * p["item_embedding"]["table"][item] + p["position_embedding"]["table"][t] for t, item in enumerate(items)]
    a = [norm(entry, block["attention_norm"]) for entry in x]
    q = a[5] @ block["query"]["kernel"] + block["query"]["bias"]
    weights = np.zeros(LENGTH)
    for j in range(LENGTH):
        logit = q @ (a[j] @ block["key"]["kernel"]) / np.sqrt(DIM) + block["distance"][0, 5 - j]
        weights[j] = np.exp(logit + block["elapsed"][0, floor(log(max(1, TIMES[0][5] - TIMES[0][j])) / 0.301)])
    values = np.array([entry @ block["value"]["kernel"] + block["value"]["bias"] for entry in a])
    h = x[5] + weights / weights.sum() @ values
    inner = np.maximum(norm(h, block["forward_norm"]) @ block["inner"]["kernel"] + block["inner"]["bias"], 0)
    expected = norm(h + inner @ block["outer"]["kernel"] + block["outer"]["bias"], p["norm"])
    np.testing.assert_allclose(encode(model, params, HISTORY)[0, 5], expected, rtol=2e-4, atol=2e-5)


def test_distances_beyond_the_table_share_its_last_bias():
    length = MAX_DISTANCE + 3
    model = HSTU(ITEMS, length, embedding_dim=DIM, n_blocks=1)
    params = params_of(model)["params"]
    items, block = jnp.arange(length)[None] % ITEMS, params["blocks_0"]

    def outputs(table):
        changed = {"params": params | {"blocks_0": block | {"distance": table}}}
        return model.apply(changed, items, method="encode")[0, :, 0]

    found = np.asarray(jax.jit(jax.jacobian(outputs))(block["distance"]))[:, 0] != 0
    assert found.shape == (length, MAX_DISTANCE + 1)
    assert found.sum(axis=1).tolist() == [min(place, MAX_DISTANCE) + 1 for place in range(length)]


def test_scores_do_not_depend_on_the_start_of_the_history():
    train = Interactions(
        np.array([0, 0, 0, 1, 1], np.int32),
        np.array([3, 1, 2, 0, 5], np.int32),
        None,
        np.array([0, 1000, 90_000_000, 5_000, 7_000_000]) + 10**12,
        None,
        np.arange(2),
        np.arange(ITEMS),
    )
    later = train.annotated(time=train.time + 10**11 + 7)
    assert MODEL.history_columns == MODEL.clone(time_gap=4).history_columns == ("gap",)
    params = params_of(MODEL)

    def scores(data):
        query = query_of(MODEL, QueryRows.for_users(np.arange(2), data.histories))
        return np.asarray(jax.jit(lambda p: MODEL.apply(p, query, method="score_catalog"))(params))

    np.testing.assert_array_equal(scores(train), scores(later))
    longer = train.annotated(time=train.time + np.array([0, 0, 10**10, 0, 0]))
    assert (np.abs(scores(longer) - scores(train)).max(axis=1) > 0).tolist() == [True, False]


@pytest.mark.parametrize("kind", [HSTU, SASRec])
def test_data_without_times_are_refused(kind):
    train = Interactions(np.array([0, 1]), np.array([0, 4]), None, None, None, np.arange(2), np.arange(ITEMS))
    message = "model.time_bias needs times, and the data has none: set data.time_column, or remove model.time_bias"
    with pytest.raises(InputError, match=message):
        kind(ITEMS, time_bias=True).check_data(train)
    kind(ITEMS).check_data(train)


def test_heads_must_divide_the_embedding_dimension():
    model = HSTU(ITEMS, LENGTH, embedding_dim=4, n_heads=3)
    with pytest.raises(InputError, match=r"model.n_heads=3 must divide model.embedding_dim=4"):
        jax.eval_shape(model.init, jax.random.key(0), Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32))
