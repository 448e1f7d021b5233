"""Exports give the lists of their run, in a process that cannot import jaxrec."""

import json
import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from jaxrec import launch, recommend
from jaxrec.data.histories import UserHistories
from jaxrec.errors import InputError
from jaxrec.models import Factorized, Model
from jaxrec.recommend.export import export
from jaxrec.recommend.exported import Exported
from tests.planted import PLANTED
from tests.slow import some_slow

SETTINGS = {
    "mf": ("model=mf", "trainer.epochs=2", "trainer.batch_size=1024", "model.embedding_dim=8"),
    "ease": ("model=ease",),
}
ASK = """
import json, sys
sys.modules["jaxrec"] = None  # importing it would fail
from load import Exported
asked = json.load(sys.stdin)
model = Exported(".")
lists = [model.recommend(asked["users"], k=5), model.recommend(asked["users"][:1], k=3, exclude_seen=False)]
lists.append(model.recommend_histories(asked["histories"], k=4))
try:
    model.recommend(asked["users"], k=1000)
except ValueError as error:
    print(json.dumps([lists, str(error)]))
"""


def pairs(frame: pd.DataFrame, key: str) -> list:
    groups = frame.groupby(key, sort=False)
    return [list(zip(part.item_id, part.score, strict=True)) for _, part in groups]


@pytest.mark.parametrize("name", some_slow(SETTINGS, "mf"))
@pytest.mark.slow
def test_an_export_gives_the_lists_of_the_run(compose, tmp_path, name):
    launch.run(compose(*PLANTED, *SETTINGS[name]), tmp_path / "run")
    printed = export(str(tmp_path / "run"), str(tmp_path / "out"), k=7)
    model = recommend.load(tmp_path / "run")
    users = model.user_ids[[3, 200, 7]]
    longest = model.item_ids[:-4].tolist()
    assert np.diff(model.known.offsets).max() < len(longest) <= model.longest_history
    histories = [model.item_ids[[5, 9, 2]].tolist(), model.item_ids[[1]].tolist(), [], longest]
    asked = json.dumps({"users": users.tolist(), "histories": histories})
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=tmp_path / "out", input=asked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lists, refused = json.loads(done.stdout)
    assert "supports k from 1 to 7" in refused
    expected = [
        pairs(model.recommend(users, k=5), "user_id"),
        pairs(model.recommend(users[:1], k=3, exclude_seen=False), "user_id"),
        pairs(model.recommend_histories(histories, k=4), "history"),
    ]
    for found, wanted in zip(lists, expected, strict=True):
        assert [[item for item, _ in best] for best in found] == [[item for item, _ in best] for best in wanted]
        scores = [[score for _, score in best] for best in found]
        np.testing.assert_allclose(scores, [[score for _, score in best] for best in wanted], rtol=1e-4, atol=1e-5)
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    if name == "ease":
        assert "no vectors" in printed[-1]
        return
    tables = [pq.read_table(tmp_path / "out" / f"{side}_vectors.parquet") for side in ("user", "item")]
    of_users, of_items = (np.stack(table["vector"].to_numpy()) for table in tables)
    assert tables[0]["user_id"].to_pylist() == model.user_ids.tolist()
    assert tables[1]["item_id"].to_pylist() == model.item_ids.tolist()
    scores = of_users[200] @ of_items.T
    np.testing.assert_allclose(scores, model.score([model.user_ids[200]], model.item_ids), rtol=1e-4, atol=1e-5)


class Dots(Factorized):
    """Dot products of users and items; new users get the most popular items."""

    n_users: int = 3
    n_items: int = 4

    def setup(self):
        self.users = self.param("users", nn.initializers.zeros, (self.n_users, 2))
        self.items = self.param("items", nn.initializers.zeros, (self.n_items, 2))

    def query_vectors(self, query):
        return self.users[query.user]

    def item_vectors(self):
        return self.items


def test_an_export_of_dot_products_by_hand(tmp_path, monkeypatch):
    """Item b is only history of anna, who may get it; carl is new. Popularity is 3, 2, 2 and 1."""
    users, items = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([[1.0, 4.0], [3, 3], [2, 2], [4, 1]])
    known = {"offsets": np.array([0, 3, 5, 5]), "items": np.array([3, 1, 0, 0, 2], np.int32)}
    known |= {"event": None, "gap": None, "value": None, "target": np.array([True, False, True, True, True])}
    trained = {"popular": np.float32([3, 2, 2, 1]), "users": np.array([True, True, False]), "items": np.ones(4, bool)}
    extra = {"user_ids": np.array(["anna", "bert", "carl"]), "item_ids": np.array(["d", "b", "a", "c"])}
    extra |= {f"known_{name}": column for name, column in known.items()}
    extra |= {f"trained_{name}": column for name, column in trained.items()}
    params = {"params": {"users": users.astype(np.float32), "items": items.astype(np.float32)}}
    run = recommend.Recommender(Dots(), params, extra)
    monkeypatch.setattr("jaxrec.recommend.export.load", lambda directory: run)
    export("run", str(tmp_path), k=9, platforms=("cpu",))
    model = Exported(tmp_path)
    assert model.recommend(["anna", "bert"], k=4) == [[("b", 3.0), ("a", 2.0)], [("b", 3.0), ("c", 1.0)]]
    assert model.recommend(["anna"], k=3, exclude_seen=False) == [[("c", 4.0), ("b", 3.0), ("a", 2.0)]]
    assert model.recommend(["carl", "dora"], k=2, unknown="popularity") == [[("d", 3.0), ("b", 2.0)]] * 2
    assert model.recommend_histories([["d", "b"], []], k=2) == [[("a", 2.0), ("c", 1.0)], [("d", 3.0), ("b", 2.0)]]
    assert model.recommend_histories([["d"]], k=1, exclude_seen=False) == [[("d", 3.0)]]
    for side, ids, vectors in (("user", ["anna", "bert", "carl"], users), ("item", ["d", "b", "a", "c"], items)):
        table = pq.read_table(tmp_path / f"{side}_vectors.parquet")
        assert table[f"{side}_id"].to_pylist() == ids
        np.testing.assert_array_equal(np.stack(table["vector"].to_numpy()), vectors)


def test_the_loader_names_what_it_cannot_read():
    model = object.__new__(Exported)
    model._columns = ["event"]
    for wrong in (lambda: model.recommend("anna"), lambda: model.recommend(["anna"], unknown="ignore")):
        with pytest.raises(ValueError, match="pass a list of ids, and unknown as 'error' or 'popularity'"):
            wrong()
    with pytest.raises(ValueError, match=r"columns: 'events' is not read by this model; it reads \['event'\]"):
        model.recommend_histories([[1]], columns={"events": [[0]]})


class CallsTheHost(Model):
    """Scores by a callback to the host, which an exported program cannot contain."""

    n_items: int = 4

    @nn.compact
    def score_catalog(self, query):
        shape = jax.ShapeDtypeStruct((query.user.shape[0], self.n_items), np.float32)
        return jax.pure_callback(lambda user: np.zeros((len(user), self.n_items), np.float32), shape, query.user)


def test_models_that_cannot_be_exported_are_refused(tmp_path, monkeypatch):
    known = UserHistories(np.array([0, 1, 2, 3]), np.arange(3, dtype=np.int32))._asdict()
    extra = {"user_ids": np.arange(3), "item_ids": np.arange(4)}
    run = recommend.Recommender(CallsTheHost(), {}, extra | {f"known_{name}": column for name, column in known.items()})
    monkeypatch.setattr("jaxrec.recommend.export.load", lambda directory: run)
    with pytest.raises(InputError, match=r"CallsTheHost cannot be exported for cpu, cuda, tpu: .*\. Serve it from"):
        export("run", str(tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_unknown_platforms_are_refused(tmp_path):
    with pytest.raises(InputError, match="platforms=metal is unknown; choose from cpu, cuda, tpu"):
        export("run", str(tmp_path / "out"), platforms=("metal",))
    assert not list(tmp_path.iterdir())
