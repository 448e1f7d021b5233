"""Inputs of sequence models besides items: their sum in numpy, causality, and items without interactions."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.features import Encoded
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.features import FeatureTables, table, with_tables
from jaxrec.history import History
from jaxrec.models.bert4rec import BERT4Rec
from jaxrec.models.dropout import Noise
from jaxrec.models.embedding import Embedding
from jaxrec.models.gru4rec import GRU4Rec
from jaxrec.models.hstu import HSTU
from jaxrec.models.lru import LRURec
from jaxrec.models.nextitnet import NextItNet
from jaxrec.models.sasrec import SASRec
from jaxrec.models.sequence import Context, SequenceModel
from jaxrec.models.sequence_inputs import SequenceInputs, bucket
from jaxrec.query import Query
from tests.models.synthetic_features import OF_ITEMS, OF_USERS, vectors
from tests.slow import some_slow

ITEMS, LENGTH, DIM = 6, 4, 4
TABLES = FeatureTables(table(OF_USERS), table(OF_ITEMS))
ALL = {
    "n_items": ITEMS,
    "history_length": LENGTH,
    "embedding_dim": DIM,
    "item_features": True,
    "user_features": True,
    "event_kind": True,
    "n_events": 3,
    "time_gap": 5,
    "calendar": True,
    "value": 4,
    "item_sizes": OF_ITEMS.sizes,
    "user_sizes": OF_USERS.sizes,
}
FAMILIES = {
    "sasrec": SASRec(**ALL, n_blocks=1),
    "gru4rec": GRU4Rec(**ALL),
    "hstu": HSTU(**ALL, n_blocks=1, time_bias=True),
    "lru": LRURec(**ALL, n_blocks=1),
    "nextitnet": NextItNet(**ALL, dilations=(1,)),
    "bert4rec": BERT4Rec(**ALL, n_blocks=1),
    "untied": SASRec(**ALL, n_blocks=1, tied=False, normalize="post", temperature=0.5),
}
# One history with padding, and one with unknown columns. 1.5e6 hours after 1970 is 2141-02-13 00:00,
# a Monday, and 30 hours 1970-01-02 06:00, a Friday.
HISTORY = History(
    jnp.array([[-1, 3, 0, 5], [1, 2, 2, 4]]),
    event=jnp.array([[0, 2, 0, 1], [1, -1, 2, 0]]),
    gap=jnp.array([[0.0, 0, 59, 4e7], [0, -1, 3600, 86400]]),
    value=jnp.array([[0.0, 1, 5, 2000], [3, jnp.nan, 1, -2]]),
    hour=jnp.array([[0, 1_500_000, 1_500_023, 1_500_024], [30, -1, 31, 32]]),
)
USERS = jnp.array([2, -1])


def with_random_numbers(model):
    """Return the model with feature tables, and random values for every parameter."""
    model = with_tables(model, TABLES)
    query = Query(jnp.zeros(1, jnp.int32), History(jnp.full((1, LENGTH), -1, jnp.int32)))
    shapes = jax.eval_shape(model.init, jax.random.key(0), query, jnp.zeros((1, 1), jnp.int32))
    rng = np.random.default_rng(3)
    return model, jax.tree.map(lambda x: jnp.asarray(rng.normal(0.1, 0.6, x.shape), jnp.float32), shapes)


@cache
def built(name: str):
    """Return a model, its parameters, and its encoder."""
    model, params = with_random_numbers(FAMILIES[name])
    return model, params, jax.jit(lambda p, items, context: model.apply(p, items, None, context, method="encode"))


def of_features(p: dict, features, row: int) -> np.ndarray:
    """Return the sum of the vectors of a row and of its numbers times their matrix."""
    return vectors(p["embedding"], features, row).sum(axis=0) + features.numbers[row] @ p["numbers"]["kernel"]


def test_the_sum_at_every_position_in_numpy():
    layer = SequenceInputs(DIM, 1.0, 3, 5, 4, True, OF_ITEMS.sizes, OF_USERS.sizes)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, LENGTH, DIM)), jnp.float32)
    users = TABLES.user_table.rows(USERS)

    def whole(layer, x):
        return layer(x, HISTORY.items, HISTORY, users), layer.of_items(TABLES.item_table)

    params = jax.jit(lambda: layer.init(jax.random.key(1), x, method=whole))()
    (found, real), of_items = jax.jit(lambda p: layer.apply(p, x, method=whole))(params)
    p = jax.tree.map(np.asarray, params["params"])
    # log(60) / log(31,536,001) is .237, and times 5 buckets 1.19; an hour .474 → 2; a day .658 → 3; 4e7 s the last, 4.
    gap = [[None, 0, 1, 4], [0, None, 2, 3]]
    # log(2) / log(1001) is .100, times 4 buckets 0; of 4: .80 → 0; of 6: 1.04 → 1; 2,000 the last; negative 0.
    value = [[None, 0, 1, 3], [0, None, 0, 0]]
    hour, day = [[None, 0, 23, 0], [6, None, 7, 8]], [[None, 0, 0, 1], [4, None, 4, 4]]
    event = [[None, 2, 0, 1], [1, None, 2, 0]]
    expected = np.zeros((2, LENGTH + 1, DIM))
    parts = {"event": event, "gap": gap, "value": value, "hour": hour, "day": day}
    for row in range(2):
        for place in range(LENGTH):
            codes = {name: part[row][place] for name, part in parts.items()}
            known = [p[f"{name}_embedding"]["table"][code] for name, code in codes.items() if code is not None]
            expected[row, place + 1] = x[row, place] + sum(known)
    expected[0, 1:] += of_features(p["user_part"], OF_USERS, 2)
    unknown = p["user_part"]["embedding"]["categories_0"]["table"][
        0
    ]  # the new user, whose age is unknown and thus the mean
    expected[1] += unknown
    expected[0, 1] = of_features(p["user_part"], OF_USERS, 2)  # only the user, before the first event
    np.testing.assert_array_equal(real, [[False, True, True, True, True], [True] * 5])
    np.testing.assert_allclose(np.asarray(found)[real], expected[np.asarray(real)], rtol=1e-5, atol=1e-6)
    by_item = [of_features(p["item_part"], OF_ITEMS, item) for item in range(ITEMS)]
    np.testing.assert_allclose(of_items, by_item, rtol=1e-5, atol=1e-6)


def test_buckets_have_equal_widths_in_the_logarithm():
    x = jnp.array([[0.0, 0.9, 1.1, 2.9, 3.1, 6.9, 7.1, 14.0, 1e9, -1.0, jnp.nan]])
    np.testing.assert_array_equal(bucket(x, 4, 15.0), [[0, 0, 1, 1, 2, 2, 3, 3, 3, -1, -1]])  # 15 is 2 ** 4 - 1


@pytest.mark.parametrize("name", some_slow(FAMILIES, "untied"))
def test_every_column_affects_only_outputs_from_its_position_on(name):
    """Each column of an event changes outputs from there on, and none before in causal models; so does the user."""
    model, params, encode = built(name)
    context = Context(HISTORY, USERS)
    before = np.asarray(encode(params, HISTORY.items, context))
    assert before.shape[:2] == (2, LENGTH)
    for column, other in {"event": 1, "gap": 7000.0, "value": 100.0, "hour": 1_500_100}.items():
        changed = HISTORY._replace(**{column: getattr(HISTORY, column).at[0, 2].set(other)})
        after = np.asarray(encode(params, HISTORY.items, Context(changed, USERS)))
        moved = np.abs(after - before).max(axis=2) > 0
        assert moved[0, 2:].all(), column
        assert not moved[1].any()
        assert moved[0, 1] != model.causal, column
    after = np.asarray(encode(params, HISTORY.items, Context(HISTORY, jnp.array([1, -1]))))
    moved = np.abs(after - before).max(axis=2) > 0
    assert moved[0, 1:].all()
    assert not moved[1].any()
    nothing = jnp.full((2, LENGTH), -1)  # features distinguish users without events
    one, other = (np.asarray(encode(params, nothing, Context(HISTORY, users)))[:, -1] for users in (USERS, USERS[::-1]))
    assert np.abs(one - other).max(axis=1).min() > 1e-3


@pytest.mark.parametrize("name", some_slow(FAMILIES, *(name for name in FAMILIES if name != "sasrec")))
def test_padding_has_no_effect(name):
    _, params, encode = built(name)
    whole = encode(params, HISTORY.items, Context(HISTORY, USERS))
    cut = jax.tree.map(lambda x: x[:, 1:], HISTORY)
    short = encode(params, cut.items, Context(cut, USERS))
    np.testing.assert_allclose(whole[0, 1:], short[0], rtol=1e-4, atol=1e-5)


def test_a_bidirectional_model_does_not_read_the_event_that_it_predicts():
    """The mask also hides the columns, as unknown, and the gap of the next event."""
    appended = HISTORY.appended(ITEMS)
    assert np.asarray(appended.items).tolist() == [[3, 0, 5, ITEMS], [2, 2, 4, ITEMS]]
    assert np.asarray(appended.event).tolist() == [[2, 0, 1, -1], [-1, 2, 0, -1]]
    assert np.asarray(appended.gap[0]).tolist() == [0, 59, 4e7, -1]
    assert np.isnan(appended.value[:, -1]).all()
    hidden = HISTORY.without(jnp.array([[False, True, False, False], [False, False, False, True]]))
    assert np.asarray(hidden.event).tolist() == [[0, -1, 0, 1], [1, -1, 2, -1]]
    assert np.asarray(hidden.gap).tolist() == [[0, -1, -1, 4e7], [0, -1, 3600, -1]]
    assert np.asarray(hidden.hour).tolist() == [[0, -1, 1_500_023, 1_500_024], [30, -1, 31, -1]]
    assert np.isnan(hidden.value).tolist() == [[False, True, False, False], [False, True, False, True]]


@pytest.mark.parametrize("name", some_slow(FAMILIES, "untied", "lru", "nextitnet", "gru4rec"))
def test_an_item_without_interactions_has_the_vector_of_its_features(name):
    model, params, _ = built(name)
    train = Interactions(np.array([0, 1]), np.array([0, 4]), None, None, None, np.arange(3), np.arange(ITEMS))
    start = model.pretrained(jax.tree.map(lambda x: x[None], params), train)
    start = jax.tree.map(lambda x: x[0], start)
    new = np.array([1, 2, 3, 5])
    assert np.flatnonzero(model.apply(start, method="is_new")).tolist() == new.tolist()
    p = jax.tree.map(np.asarray, params["params"])
    features = np.array([of_features(p["inputs"]["item_part"], OF_ITEMS, item) for item in range(ITEMS)])
    ids = p["output_embedding" if name == "untied" else "item_embedding"]["table"][:ITEMS]
    expected = np.where(np.isin(np.arange(ITEMS), new)[:, None], 0, ids) + features
    if name == "untied":
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True) / 0.5 * 0.5
    found = model.apply(start, method="item_vectors")
    np.testing.assert_allclose(found[:, :DIM], expected, rtol=1e-4, atol=1e-5)


def test_ids_are_dropped_by_step_in_inputs_and_outputs_alike():
    model, params = with_random_numbers(FAMILIES["sasrec"].clone(id_dropout=0.3))
    ids = np.asarray(params["params"]["item_embedding"]["table"])
    items, source = jnp.arange(ITEMS)[None], jnp.array([1, 2], jnp.uint32)

    def both(step):
        noise = Noise(source, jnp.arange(2), jnp.stack([step, jnp.uint32(7)]))
        bound = model.bind(params)
        return bound.catalog(noise), bound.embedded(items, noise)[0]

    bare = np.asarray(jax.jit(lambda: model.bind(params).catalog())())
    found, read = jax.jit(jax.vmap(both))(jnp.arange(200, dtype=jnp.uint32))
    np.testing.assert_array_equal(found, read)
    lost = np.abs(np.asarray(found) - bare).max(axis=2) > 1e-6
    np.testing.assert_allclose(found, bare - lost[:, :, None] * ids, atol=1e-5)
    assert lost.mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.3 * 0.7 / lost.size))
    assert np.unique(lost.sum(axis=1)).size > 2  # each item on its own


class IdsOnly(SequenceModel):
    """A user-defined model that reads only items."""

    def setup(self):
        self.item_embedding = Embedding(self.n_items, 2)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (SASRec(ITEMS, event_kind=True), "model.event_kind needs events, and the data has none: set data.event_column"),
        (SASRec(ITEMS, time_gap=4), "model.time_gap needs times, and the data has none: set data.time_column"),
        (SASRec(ITEMS, calendar=True), "model.calendar needs times"),
        (SASRec(ITEMS, value=4), "model.value needs values"),
        (
            SASRec(ITEMS, item_features=True),
            "model.item_features=true, and the data has no features .*: set data.item_f",
        ),
        (SASRec(ITEMS, user_features=True), "model.user_features=true, and the data has no features"),
        (SASRec(ITEMS, id_dropout=0.1), "model.id_dropout=0.1 only has an effect .* when: {model.item_features: true}"),
        (IdsOnly(ITEMS, time_gap=4), "IdsOnly reads item ids only: remove model.time_gap"),
    ],
)
def test_columns_that_the_model_cannot_read_are_refused(model, message):
    train = Interactions(np.array([0, 1]), np.array([0, 4]), None, None, None, np.arange(2), np.arange(ITEMS))
    with pytest.raises(InputError, match=message):
        model.check_data(train)
    SASRec(ITEMS).check_data(train)
    encoded = Encoded.holding(OF_USERS, OF_ITEMS)
    SASRec(ITEMS, item_features=True, user_features=True).check_data(train.annotated(encoded=encoded))
