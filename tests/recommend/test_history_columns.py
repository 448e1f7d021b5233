"""Stored models that read event types, times, values and features: equal lists by user, by history and exported.

The parameters are random, so nothing is trained.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxrec import rundir
from jaxrec.atomic_files import write_json
from jaxrec.checkpoint import save_params
from jaxrec.data.features import Encoded, features
from jaxrec.data.interactions import encode
from jaxrec.errors import InputError
from jaxrec.features import tables, with_tables
from jaxrec.history import History
from jaxrec.hyper import hyper_of
from jaxrec.models.bert4rec import BERT4Rec
from jaxrec.models.hstu import HSTU
from jaxrec.models.sasrec import SASRec
from jaxrec.query import Query
from jaxrec.ranking import QueryRows, query_of
from jaxrec.recommend import load
from jaxrec.recommend.export import export
from jaxrec.recommend.exported import Exported
from jaxrec.serve.limits import Limits
from jaxrec.serve.service import Service
from tests.serve.shop import Client

USERS, ITEMS = 5, 12
SIZES = {"n_items": ITEMS, "history_length": 4, "embedding_dim": 4, "n_blocks": 1}
READS = {"item_features": True, "event_kind": True, "n_events": 2, "time_gap": 6, "calendar": True, "value": 5}
TYPES = ("buy", "view")


def log() -> pd.DataFrame:
    """Six events of each user, hours and days apart, with times in milliseconds."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(USERS), 6)
    return pd.DataFrame(
        {
            "user_id": [f"u{u}" for u in user],
            "item_id": [f"i{i}" for i in rng.permutation(np.arange(30) % ITEMS)],
            "time": 1_600_000_000_000 + np.cumsum(rng.integers(60_000, 10**8, 30)),
            "event": rng.integers(0, 2, 30),
            "value": rng.integers(1, 20, 30).astype(float),
        }
    )


ITEM_FEATURES = pd.DataFrame(
    {"item_id": [f"i{i}" for i in range(ITEMS)], "v": [[i / 3, 0.5 - i] for i in range(ITEMS)]}
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """`stored(SASRec)`: the folder of a run, its model with feature tables, its parameters and its data."""
    known = encode(log(), item_features=ITEM_FEATURES, event_names=TYPES, name="log")
    known = known.annotated(encoded=Encoded.holding(None, features(known.item_features)))

    def of(kind):
        reads = READS | ({} if kind is BERT4Rec else {"time_bias": True})
        plain = kind(**SIZES, **reads, item_sizes=known.encoded.of_items.sizes)
        model = with_tables(plain, tables(plain, known.encoded))
        query = Query(jnp.zeros(1, jnp.int32), History(jnp.full((1, 4), -1, jnp.int32)))
        shapes = jax.eval_shape(model.init, jax.random.key(0), query, jnp.zeros((1, 1), jnp.int32))
        rng = np.random.default_rng(3)
        params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0.1, 0.6, x.shape), jnp.float32), shapes)
        folder = tmp_path_factory.mktemp("run")
        result = SimpleNamespace(model=plain, hyper=hyper_of(plain), known=known, trained=None)
        save_params(folder / "model", params, extra=rundir.stored_values(result))
        write_json(folder / "metrics.json", {})
        return folder, model, params, known

    return of


def described(user: str) -> dict:
    """Return the arguments of `recommend_histories` for a user."""
    own = log()[lambda frame: frame.user_id == user]
    types, times = [TYPES[code] for code in own.event], pd.to_datetime(own.time, unit="ms").dt.strftime("%FT%T.%f")
    return {"event_types": [types], "times": [times.tolist()], "values": [own.value.tolist()]}


@pytest.mark.whole
def test_by_user_by_history_and_by_the_server(stored):
    folder, model, params, known = stored(SASRec)
    run = load(folder)
    query = query_of(model, QueryRows.for_users(np.arange(USERS), known.histories, known.encoded))
    expected = np.asarray(jax.jit(lambda p: model.apply(p, query, method="score_catalog"))(params))
    by_user = run.recommend(run.user_ids, k=ITEMS, exclude_seen=False)
    at = {item: place for place, item in enumerate(run.item_ids)}
    own = by_user[by_user.user_id == "u3"]
    scores = expected[list(run.user_ids).index("u3"), [at[item] for item in own.item_id]]
    np.testing.assert_allclose(own.score, scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run.score(["u3"], own.item_id), scores, rtol=1e-4, atol=1e-5)

    history = log()[lambda frame: frame.user_id == "u3"].item_id.tolist()
    found = run.recommend_histories([history], ITEMS, exclude_seen=False, **described("u3"))
    assert found.item_id.tolist() == own.item_id.tolist()
    np.testing.assert_allclose(found.score, own.score, rtol=1e-4, atol=1e-5)
    for name in ("event_types", "times", "values"):  # each column changes the list
        less = run.recommend_histories([history], ITEMS, exclude_seen=False, **(described("u3") | {name: None}))
        assert not np.allclose(less.score, own.score)

    limits = Limits(max_k=ITEMS, candidates=ITEMS, max_history=8, user_items=5)
    with Client(Service.of(run, limits, "log")) as client:
        told = {name: lists[0] for name, lists in described("u3").items()}
        body = {"history": history, "exclude_seen": False, "k": ITEMS, **told}
        assert client.recommend(**body) == own.item_id.tolist()
        assert client.recommend(user="u3", exclude_seen=False, k=ITEMS) == own.item_id.tolist()
        # An hour after the latest event; the next list reads its type, gap, hour and value.
        later = (pd.Timestamp(told["times"][-1]) + pd.Timedelta(hours=1)).isoformat()
        event = {"user": "u3", "item": "i5", "event_type": "view", "time": later, "value": 7}
        assert client.post("/events", {"events": [event]}).json() == {"accepted": 1}
        more = {"event_types": "view", "times": later, "values": 7.0}
        whole = {name: [lists[0] + [more[name]]] for name, lists in described("u3").items()}
        after = run.recommend_histories([[*history, "i5"]], ITEMS, exclude_seen=False, **whole)
        assert client.recommend(user="u3", exclude_seen=False, k=ITEMS) == after.item_id.tolist()
        wrong = client.post("/events", {"events": [event | {"event_type": "sale"}]})
        assert wrong.status_code == 422
        assert "event type 'sale' is not in this run; its event types are buy, view" in wrong.json()["error"]
        wrong = client.post("/recommend", {"history": ["i1", "i2"], "times": [1_600_000_001, 1_600_000_000]})
        assert "times of history 0 decrease" in wrong.json()["error"]
        wrong = client.post("/recommend", {"history": ["i1", "i2"], "values": [1]})
        assert "values must have one entry for each item of history" in wrong.json()["error"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SASRec, BERT4Rec, HSTU])
def test_exported(stored, tmp_path, kind):
    folder, *_ = stored(kind)
    run = load(folder)
    export(str(folder), str(tmp_path / "out"), k=6, platforms=("cpu",))
    found = Exported(tmp_path / "out")
    expected = run.recommend(run.user_ids[:2], k=5)
    for user, answer in zip(run.user_ids[:2], found.recommend(run.user_ids[:2], k=5), strict=True):
        own = expected[expected.user_id == user]
        assert [item for item, _ in answer] == own.item_id.tolist()
        np.testing.assert_allclose([score for _, score in answer], own.score, rtol=1e-4, atol=1e-5)
    history = log()[lambda frame: frame.user_id == "u3"].item_id.tolist()
    place = list(run.user_ids).index("u3")
    own = slice(*run.known.offsets[place : place + 2])
    columns = {name: [found.tables[f"known_{name}"][own]] for name in found.about["history_columns"]}
    assert columns["gap"][0][0] == 0  # of the first, as load.py says
    (answer,) = found.recommend_histories([history], k=5, columns=columns)
    assert [item for item, _ in answer] == run.recommend(["u3"], k=5).item_id.tolist()


def test_columns_of_histories_must_have_matching_lengths(stored):
    run = load(stored(SASRec)[0])
    with pytest.raises(InputError, match="times must have one entry for each item of each history"):
        run.recommend_histories([["i1"]], times=[[1, 2]])
    with pytest.raises(InputError, match=r"entry 1 of times .*yesterday"):
        run.recommend_histories([["i1"]], times=[["yesterday?"]])
    with pytest.raises(InputError, match="times of history 1 decrease: list the items of a history oldest first"):
        run.recommend_histories([["i1"], ["i1", "i2", "i3"]], times=[[9], [5, None, 3]])
    with pytest.raises(InputError, match=r"entry 2 of times has the time 0 .* correct or drop rows without a time$"):
        run.recommend_histories([["i1", "i2"]], times=[[1_600_000_000, 0]])
    with pytest.raises(InputError, match="event type 'sale' is not in this run; its event types are buy, view"):
        run.recommend_histories([["i1"]], event_types=[["sale"]])
