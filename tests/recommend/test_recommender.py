"""A loaded run against numpy: known users, new histories, unknown users and items."""

import json
from copy import copy
from functools import cache

import numpy as np
import pandas as pd
import pytest

from jaxrec import experiment, launch, recommend
from jaxrec.errors import InputError
from jaxrec.recommend.batch_recommender import NEW
from jaxrec.recommend.position_recommender import MANY
from jaxrec.recommend.recommender import _on_device
from tests.planted import PLANTED
from tests.slow import some_slow

SETTINGS = {  # one model of each kind
    "ials": ("model=ials", "model.embedding_dim=8", "trainer.epochs=3"),
    "ease": ("model=ease",),
    "neumf": ("model=neumf", "trainer.epochs=1", "trainer.batch_size=1024"),
    "sasrec": ("model=sasrec", "split=holdout", "model.history_length=8", "model.n_blocks=1", "trainer.epochs=1"),
}


@pytest.fixture(scope="module")
def loaded(planted_run):
    """`loaded("ease")`: a run of this model on planted data, loaded once per module."""
    return cache(lambda name: recommend.load(planted_run(*SETTINGS[name])))


@pytest.mark.parametrize("start", [0, 16, 48])
def test_parameters_do_not_change_when_their_file_is_overwritten(tmp_path, start):
    """At any offset of the file: later writes to it do not change them."""
    path = tmp_path / "file"
    np.ones(64, np.float32).tofile(path)
    mapped = np.asarray(np.memmap(path, np.uint8, "r"))[start : start + 64].view(np.float32)
    array = _on_device(mapped).block_until_ready()
    with path.open("rb+") as file:
        file.write(bytes(256))
    assert mapped.tolist() == [0] * 16
    assert array.tolist() == [1] * 16


def lists(frame: pd.DataFrame, key: str) -> dict:
    return {name: part.item_id.tolist() for name, part in frame.groupby(key, sort=False)}


@pytest.mark.slow
def test_a_history_gets_the_list_of_its_user(loaded):
    """Lists of EASE and SASRec depend on the history only."""
    for name in ("ease", "sasrec"):
        model = loaded(name)
        users = np.arange(20)
        histories = [model.item_ids[model.known.items[slice(*model.known.offsets[u : u + 2])]] for u in users]
        by_history = model.recommend_histories(histories, k=5)
        by_user = model.recommend(model.user_ids[users], k=5)
        assert list(by_history) == ["history", "item_id", "score", "rank", "source"]
        assert by_history.item_id.tolist() == by_user.item_id.tolist()
        assert by_history["rank"].tolist() == by_user["rank"].tolist()
        np.testing.assert_allclose(by_history.score, by_user.score, rtol=1e-4, atol=1e-5)
        assert set(by_history.source) == {"model"}


@pytest.mark.parametrize("name", some_slow(["neumf", "sasrec", "ease"], "neumf", "sasrec"))
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_a_user_gets_the_same_list_alone_and_among_many(loaded, exclude_seen, name):
    """Small requests of all kinds share one program; large ones use a program over all devices."""
    model = loaded(name)
    many = model.recommend(model.user_ids, k=6, exclude_seen=exclude_seen)
    before = len(model._batch_recommenders)
    for users in (model.user_ids[:2], model.user_ids[7:12]):
        few = model.recommend(users, k=6, exclude_seen=exclude_seen)
        expected = many[many.user_id.isin(users)]
        assert few.item_id.tolist() == expected.item_id.tolist()
        np.testing.assert_allclose(few.score, expected.score, rtol=1e-5)
    assert len(model.user_ids) > MANY
    assert len(model._batch_recommenders) <= before + 1


def test_a_model_that_scales_with_the_data_has_the_density_of_all_known_data(loaded, planted_run):
    size = json.loads((planted_run(*SETTINGS["ials"]) / "metrics.json").read_text())["data"]
    known = size["train"] + size["validation"]
    assert loaded("ials").model.density == pytest.approx(known / size["users"] / size["items"])


@pytest.mark.slow
def test_ials_solves_for_a_new_user(loaded):
    """Rendle et al. 2022: (sum of q q' + w Q'Q + reg (n + w I)^nu) p = sum of q, here in float64."""
    model = loaded("ials")
    q = np.asarray(model._params["params"]["item_embedding"]["table"], np.float64)
    history = [3, 100, 7, 7, 50]  # repeats count
    m = model.model
    penalty = m.regularization * (len(history) + m.pair_weight * len(q)) ** m.nu
    chosen = q[history]
    matrix = chosen.T @ chosen + m.pair_weight * q.T @ q + penalty * np.eye(q.shape[1])
    scores = q @ np.linalg.solve(matrix, chosen.sum(axis=0))
    frame = model.recommend_histories([model.item_ids[history], model.item_ids[[1]]], k=120, exclude_seen=False)
    frame = frame[frame.history == 0]
    place = pd.Index(model.item_ids).get_indexer(frame.item_id)
    np.testing.assert_allclose(frame.score, scores[place], rtol=1e-3, atol=1e-5)
    assert frame.score.is_monotonic_decreasing


@pytest.mark.parametrize("name", some_slow(["neumf", "ials", "ease"], "neumf"))
def test_popularity_is_the_fallback(loaded, compose, name):
    """For an empty history, and for every history if the model knows users by ids only."""
    model = loaded(name)
    assert model.knows_new_users == (name != "neumf")
    seen = model.item_ids[np.argsort(-model.popular, kind="stable")[[0, 2]]]
    frame = model.recommend_histories([[], seen], k=4)
    assert frame.groupby("history").source.first().tolist() == [
        "popularity",
        "popularity" if name == "neumf" else "model",
    ]
    split, _ = experiment.prepare(compose(*PLANTED, *SETTINGS[name]))
    counts = split.selection.train.item  # as in the baseline: counts in the training data
    best = np.argsort(-np.bincount(counts, minlength=120), kind="stable")
    popular = lists(frame, "history")
    assert popular[0] == model.item_ids[best[:4]].tolist()
    assert frame.score[frame.history == 0].tolist() == np.sort(np.bincount(counts))[::-1][:4].tolist()
    if name == "neumf":
        assert popular[1] == model.item_ids[best[[1, 3, 4, 5]]].tolist()
    assert not set(popular[1]) & set(seen)


def test_all_spellings_of_an_id_are_the_same_user(loaded):
    model = loaded("ease")
    user, item = int(model.user_ids[3]), int(model.item_ids[4])
    expected = model.recommend([user], k=2, unknown="popularity")
    for ids in (np.array([float(user)]), pd.Series([user], dtype="Int64"), [str(user)], [f"{user}.0"]):
        pd.testing.assert_frame_equal(model.recommend(ids, k=2, unknown="popularity"), expected)
        assert model.score(ids, [f"{item}.0"]) == model.score([user], [item])
    found = model.recommend(pd.Series([user, None], dtype="Int64"), k=2, unknown="popularity")
    assert found.user_id.tolist() == [user, user, None, None]  # a missing id is no user
    assert found.source.tolist() == ["model"] * 2 + ["popularity"] * 2
    for missing in (None, float("nan"), pd.NA):
        with pytest.raises(InputError, match="user None is not in this run's data"):
            model.recommend([user, missing])
    with pytest.raises(InputError, match="True is not an id"):
        model.recommend([True])
    histories = [[item, "7.0"], np.array([float(item)])]
    plain = model.recommend_histories([[item, 7], [item]], k=2)
    pd.testing.assert_frame_equal(model.recommend_histories(histories, k=2), plain)


def test_a_history_gets_the_same_list_alone_and_among_many(loaded):
    """More than a block, of all lengths, in different batches."""
    model, rng = loaded("ials"), np.random.default_rng(0)
    histories = [model.item_ids[rng.choice(120, n, replace=False)] for n in rng.integers(0, 40, 300)]
    together = lists(model.recommend_histories(histories, k=3), "history")
    assert len(together) == 300
    for row in (0, 17, 255, 256, 299):
        assert lists(model.recommend_histories([histories[row]], k=3), "history")[0] == together[row]


def test_a_history_longer_than_any_known_one_is_read_and_filtered_as_a_whole(loaded):
    model, left = loaded("ease"), [7, 90]
    history = np.delete(model.item_ids, left)
    frame = model.recommend_histories([np.append(history, np.repeat(history[-1], model.longest_history))], k=5)
    assert set(frame.item_id) == set(model.item_ids[left])


def test_pairs_of_a_user_who_was_not_trained_are_scored_by_folding_in(loaded):
    model, user = copy(loaded("ials")), 7
    users = model._fallback.trained.users.copy()
    users[user] = False
    model._fallback = model._fallback._replace(trained=model._fallback.trained._replace(users=users))
    bounds = model.known.offsets[user : user + 2]
    items, scores, _ = model.rank_histories(bounds - bounds[0], model.known.items[slice(*bounds)], 120, False)
    found = model.score_at(np.array([user, user, 8]), np.array([3, 50, 3]))
    expected = [scores[0][items[0] == item].item() for item in (3, 50)]
    np.testing.assert_allclose(found, [*expected, *loaded("ials").score_at(np.array([8]), np.array([3]))], rtol=1e-4)


@pytest.mark.slow
def test_a_program_of_fixed_shape_serves_known_and_new_users(loaded):
    """Users of an id model by their ids, in one call with new ones; fewer rows than a batch are enough."""
    model = loaded("neumf")
    answers = model.batch_recommender(k=6, batch=4, length=32)
    users = np.array([5, NEW, 250])
    histories = model.histories(users.clip(0), 32)
    items, scores = answers(users, histories)
    expected = model.rank(users[[0, 2]], 6)
    np.testing.assert_array_equal(items[[0, 2]], expected[0])
    np.testing.assert_allclose(scores[[0, 2]], expected[1], rtol=1e-5, atol=1e-5)
    assert answers.is_model(users, histories).tolist() == [True, False, True]
    assert answers is model.batch_recommender(k=6, batch=4, length=32)
    with pytest.raises(ValueError, match="5 rows"):
        answers(np.zeros(5, int), np.zeros((5, 32), int))


def test_unknown_users_and_items(loaded):
    model = loaded("ease")
    user, item = model.user_ids[3], model.item_ids[4]
    with pytest.raises(InputError, match=r"user 'nobody' is not in this run's data \(1 of 2 are missing\)"):
        model.recommend([user, "nobody"])
    frame = model.recommend(["nobody", user], k=3, unknown="popularity")
    assert frame.source.tolist() == ["popularity"] * 3 + ["model"] * 3
    assert frame.item_id[3:].tolist() == model.recommend([user], k=3).item_id.tolist()
    assert frame.score[:3].tolist() == np.sort(model.popular)[::-1][:3].tolist()
    with pytest.raises(InputError, match=r"item 'nothing' is not in this run's data \(1 of 2 are missing\)"):
        model.recommend_histories([[item, "nothing"]])
    frame = model.recommend_histories([[item, "nothing"], ["nothing"], [item]], k=3, unknown="popularity")
    assert frame.source.tolist() == ["model"] * 3 + ["popularity"] * 3 + ["model"] * 3
    assert frame.item_id[:3].tolist() == frame.item_id[6:].tolist()
    with pytest.raises(InputError, match="list of item ids"):
        model.recommend_histories(["50"])
    with pytest.raises(InputError, match="k=121: must be from 1 to 120"):
        model.recommend_histories([[item]], k=121)


@pytest.mark.parametrize("name", some_slow(["mf", "ials"], "mf", "ials"))
def test_users_held_out_are_folded_in_and_measured(compose, tmp_path, name):
    """split=new_users ranks for users by their histories; the loaded run gives them the evaluated lists."""
    settings = {"mf": ("trainer.epochs=8", "trainer.batch_size=512", "optimizer.learning_rate=0.02"), "ials": ()}[name]
    tree = compose(
        *PLANTED, "split=new_users", "split.test_fraction=0.3", f"model={name}", "model.embedding_dim=8", *settings
    )
    result = launch.run(tree, tmp_path)
    assert result.metrics["test"]["ndcg@10"] > 1.25 * result.metrics["popularity"]["ndcg@10"]
    model = recommend.load(tmp_path)
    users = pd.Index(model.user_ids).get_indexer(result.per_user.user_id[:5])
    histories = [model.item_ids[model.known.items[slice(*model.known.offsets[u : u + 2])]] for u in users]
    by_user = model.recommend(model.user_ids[users], k=5)
    assert model.recommend_histories(histories, k=5).item_id.tolist() == by_user.item_id.tolist()
