"""Users unknown to the model get the lists of popularity, wherever lists are made; against numpy."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from jaxrec import launch, recommend
from jaxrec.data.features import Encoded, Features, Schema
from jaxrec.data.histories import UserHistories
from jaxrec.data.interactions import Interactions
from jaxrec.data.splits.split import HeldOut
from jaxrec.evaluation.candidates import CandidateEvaluator
from jaxrec.evaluation.full_catalog import CatalogEvaluator
from jaxrec.fallback import Fallback, TrainingSummary, row_sources, training_summary, users_with_features
from jaxrec.hyper import Hyper
from jaxrec.models.dlrm import DLRM
from jaxrec.models.ease import EASE
from jaxrec.models.ials import ImplicitALS
from jaxrec.models.neumf import NeuMF
from jaxrec.models.popularity import Popularity
from jaxrec.serve.limits import Limits
from jaxrec.serve.service import Service
from tests.serve.shop import Client
from tests.slow import some_slow

ITEMS = 30
DAY = 86_400


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Old users at all times; from day 80 users "b…" with one event, and from day 60 users "v…" with several.

    Low item numbers are popular; item 29 first occurs on day 61, with users "v…".
    """
    rng = np.random.default_rng(0)
    chance = np.exp(-np.arange(29) / 6)
    chance /= chance.sum()
    rows = [(f"a{u}", i, rng.integers(0, 90)) for u in range(60) for i in rng.choice(29, 8, False, chance)]
    rows += [(f"b{u}", i, 85) for u in range(20) for i in rng.choice(29, 3, False, chance)]
    rows += [(f"v{u}", 29, 61) for u in range(10)]
    rows += [(f"v{u}", i, 86) for u in range(10) for i in rng.choice(12, 3, False)]
    path = tmp_path_factory.mktemp("log") / "log.csv"
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "t"])
    frame.assign(t=1_700_000_000 + frame.t * DAY).to_csv(path, index=False)
    return path


def trained(compose, log, directory, *overrides):
    at = [str(pd.Timestamp(1_700_000_000 + day * DAY, unit="s").date()) for day in (60, 80)]
    split = ("split=global_time", f"split.validation_from={at[0]}", f"split.test_from={at[1]}")
    tree = compose("data=files", f"data.path={log}", "data.time_column=t", *split, *overrides)
    return launch.run(tree, directory)


def ndcg(listed: list, ground_truth: set) -> float:
    gains = 1 / np.log2(np.arange(2, 12))
    return float(
        sum(gains[r] for r, item in enumerate(listed[:10]) if item in ground_truth) / gains[: len(ground_truth)].sum()
    )


@pytest.mark.parametrize("name", some_slow(["ease", "neumf", "ials"], "neumf", "ials"))
def test_new_users_are_evaluated_by_the_lists_they_are_served(compose, log, tmp_path, name):
    """Users "b" have no history; users "v" have one item, which is not in train: no model can use it."""
    fast = {"neumf": ("trainer.epochs=1",), "ials": ("trainer.epochs=2", "model.embedding_dim=4"), "ease": ()}[name]
    result = trained(compose, log, tmp_path, f"model={name}", *fast)
    rows = pd.read_csv(log)
    day = (rows.t - 1_700_000_000) // DAY
    train, seen, test = rows[day < 60], rows[day < 80], rows[day >= 80]
    model = recommend.load(tmp_path)
    counts = train.item_id.value_counts().reindex(model.item_ids, fill_value=0)
    popular = counts.sort_values(ascending=False, kind="stable").index.tolist()
    measured = result.per_user.set_index("user_id")["ndcg@10"]
    new = [user for user in measured.index if user[0] in "bv"]
    assert len(new) == 30
    expected = {}
    for user in new:
        known = set(seen.item_id[seen.user_id == user])
        expected[user] = [item for item in popular if item not in known]
        ground_truth = set(test.item_id[test.user_id == user]) - known
        assert measured[user] == pytest.approx(ndcg(expected[user], ground_truth), abs=1e-6), user
    frame = model.recommend([*new, "nobody"], k=10, unknown="popularity")
    assert set(frame.source) == {"popularity"}
    served = {user: rows.item_id.tolist() for user, rows in frame.groupby("user_id")}
    assert served == {user: items[:10] for user, items in expected.items()} | {"nobody": popular[:10]}
    assert frame.score[:10].tolist() == counts[expected[new[0]][:10]].tolist()
    assert model.score(["b0", "v0"], popular[:2]).tolist() == counts[popular[:2]].tolist()
    if name == "ease":  # the server, by user and by a history of an item that is not in train
        with Client(Service.of(model, Limits(), "log")) as client:
            assert client.recommend(user="v0", k=10) == expected["v0"][:10]
            assert client.recommend(history=[29], k=10) == expected["v0"][:10]
        assert model.recommend_histories([[29]], 10).item_id.tolist() == expected["v0"][:10]
    old = model.recommend(["a0"], unknown="popularity")
    assert set(old.source) == {"model"}
    np.testing.assert_allclose(model.score(["a0"], old.item_id.tolist()), old.score, rtol=1e-5, atol=1e-6)
    group = result.metrics["test_groups"]["users"]["new"]
    assert group["users"] == 20
    assert group["ndcg@10"] == pytest.approx(np.mean([measured[user] for user in new if user[0] == "b"]), abs=1e-6)


def rows(pairs: list[tuple[int, int]], n_users: int) -> Interactions:
    user, item = np.array(pairs, np.int32).T
    return Interactions(user, item, None, None, None, np.arange(n_users), np.arange(ITEMS))


@pytest.mark.slow
def test_candidates_of_new_users_are_ranked_by_popularity():
    """User 0 has a history, user 1 none; the relevant item ranks after items with equal or larger counts."""
    train = rows([(2, i) for i in range(10) for _ in range(10 - i)] + [(0, 3)], 3)
    known, target = rows([(0, 3)], 3), rows([(0, 5), (1, 4)], 3)
    candidates = np.array([0, 3, 6, 6]), np.array([7, 8, 9, 1, 2, 9])
    weights = np.zeros((1, ITEMS, ITEMS), np.float32)
    weights[0, 3] = -np.arange(ITEMS)
    evaluator = CandidateEvaluator(
        EASE(ITEMS, 4), HeldOut(known, target), candidates, k=(1, 4), fallback=Fallback(training_summary(train))
    )
    found = evaluator({"params": {"weights": weights}}, Hyper()).per_user["sampled_mrr@4"][0]
    np.testing.assert_allclose(found, [1.0, 1 / 3], rtol=1e-6)  # user 1: items 1 and 2 have larger counts than 4


def test_known_users_are_ranked_by_the_model_only():
    """The program is unchanged if the model can rank for every user."""
    train = rows([(0, 1), (1, 2)], 2)
    held = HeldOut(train, rows([(0, 4), (1, 5)], 2))
    evaluator = CatalogEvaluator(EASE(ITEMS, 4), held, k=(5,), fallback=Fallback(training_summary(train)))
    assert evaluator.ranker.blockwise.shared[2] is None


def features(codes: list[int]) -> Encoded:
    categories = np.array(codes, np.int32)[:, None]
    nothing = np.zeros((len(codes), 0, 0), np.int32), np.zeros((len(codes), 0), np.float32)
    return Encoded.holding(Features(categories, *nothing, schema=Schema((), (), (), {}, 1, 1)), None)


def test_which_users_the_model_can_rank_for():
    """Users 0: in train; 1: history after train; 2: history of an item not in train; 3: unknown, with a feature."""
    known = UserHistories(np.array([0, 1, 2, 3, 3]), np.array([0, 0, 9], np.int32))
    items = np.arange(ITEMS) < 5
    trained = TrainingSummary(np.ones(ITEMS, np.float32), np.array([True, False, False, False]), items)
    users = np.arange(4)
    asked = users, known.offsets[:-1], known.offsets[1:]
    encoded = features([0, 0, 0, 2])

    def answers(model, folds=None):
        own, folded = row_sources(model, Fallback(trained, folds), asked, known, users_with_features(model, encoded))
        return ["model" if o else "folded" if f else "popularity" for o, f in zip(own, folded, strict=True)]

    ials = ImplicitALS(4, ITEMS, 2)
    assert answers(EASE(ITEMS, 4)) == ["model", "model", "popularity", "popularity"]
    assert answers(ials, ials.by_history(4)) == ["model", "folded", "popularity", "popularity"]
    assert answers(NeuMF(4, ITEMS)) == ["model", "popularity", "popularity", "popularity"]
    assert answers(DLRM(4, ITEMS)) == ["model", "popularity", "popularity", "popularity"]
    assert answers(DLRM(4, ITEMS, ids=False)) == ["popularity", "popularity", "popularity", "model"]
    assert answers(Popularity(ITEMS)) == ["model"] * 4


def test_a_model_ranks_for_users_with_an_item_of_train_in_the_part_of_the_history_that_it_reads():
    known, items = UserHistories(np.array([0, 3, 6]), np.array([0, 9, 9, 9, 0, 9], np.int32)), np.arange(ITEMS) < 5
    fallback = Fallback(TrainingSummary(np.ones(ITEMS, np.float32), np.ones(2, bool), items))
    asked = np.arange(2), known.offsets[:-1], known.offsets[1:]
    for length, expected in ((3, [True, True]), (2, [False, True]), (1, [False, False])):
        own, folded = row_sources(EASE(ITEMS, length), fallback, asked, known, None)
        assert own.tolist() == expected
        assert not folded.any()


def test_popularity_sums_the_weights_of_interactions():
    train = replace(rows([(0, 1), (1, 1), (1, 2)], 3), weight=np.float32([0.5, 2.0, 0.25]))
    summary = training_summary(train)
    assert summary.popular[:4].tolist() == [0.0, 2.5, 0.25, 0.0]
    assert summary.users.tolist() == [True, True, False]
    assert np.flatnonzero(summary.items).tolist() == [1, 2]
