"""Exact evaluation against plain Python, and details of the protocol."""

from collections import OrderedDict
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation.evaluation import SUMMED, _means
from jaxrec.evaluation.full_catalog import CatalogEvaluator, FullCatalog
from jaxrec.evaluation.prediction import Predictions
from jaxrec.hyper import Hyper
from tests.evaluation.score_table import ITEMS, USERS, Table, known_and_target, of_user, params
from tests.slow import some_slow

KS = (1, 3, 10, 50)


def oracle(table: np.ndarray, known: Interactions, target: Interactions, excluded: bool) -> tuple[list, dict]:
    """Return the metrics of each user with a relevant item, and the catalog coverage."""
    rows, shown = [], {k: set() for k in KS}
    for user in range(USERS):
        relevant = set(target.item[target.user == user].tolist())
        if not relevant:
            continue
        hidden = set(known.item[known.user == user].tolist()) if excluded else set()
        ranked = sorted(set(range(ITEMS)) - hidden, key=lambda item, user=user: (-table[user, item], item))
        rows.append({key: value for k in KS for key, value in of_user(ranked, relevant, k).items()})
        for k in KS:
            shown[k] |= set(ranked[:k])
    return rows, {f"coverage@{k}": len(items) / ITEMS for k, items in shown.items()}


@pytest.mark.parametrize("excluded", [True, False])
@pytest.mark.parametrize("block", some_slow([None, 7], None))
def test_metrics_against_plain_python(block, excluded):
    """Three members, many ties, and blocks that do not divide the users."""
    known, target = known_and_target()
    tables = np.random.default_rng(1).integers(0, 12, (3, USERS, ITEMS)).astype(float)
    evaluator = CatalogEvaluator(Table(), HeldOut(known, target), k=KS[::-1], block=block, exclude_known=excluded)
    evaluation = evaluator(params(tables), Hyper())
    for member in range(3):
        rows, coverage = oracle(tables[member], known, target, excluded)
        assert list(evaluation.per_user) == list(rows[0])
        for key in rows[0]:
            expected = np.array([row[key] for row in rows])
            np.testing.assert_allclose(evaluation.per_user[key][member], expected, rtol=1e-5, atol=1e-7, err_msg=key)
            assert evaluation.means(member)[key] == pytest.approx(expected.mean(), abs=1e-6)
        for key, value in coverage.items():
            assert evaluation.means(member)[key] == pytest.approx(value)


@pytest.mark.parametrize("n_members", [1, 2, 3])
def test_metrics_are_measured_on_one_device(n_members):
    """Devices that exchange values in a different order wait for each other forever: the ranking uses all devices."""
    known, target = known_and_target()
    tables = np.random.default_rng(1).random((n_members, USERS, ITEMS))
    measured = CatalogEvaluator(Table(), HeldOut(known, target), k=KS).measure(params(tables), Hyper())
    assert len(jax.devices()) > 1
    assert {x.sharding.num_devices for x in jax.tree.leaves(measured)} == {1}


@pytest.mark.parametrize("excluded", [True, False])
def test_serendipity_and_popularity_bias_against_numpy(excluded):
    """Expected are the most popular items that are not hidden; a user without history has no popularity bias."""
    known, target = known_and_target()
    known = known.take(known.user != target.user[0])
    tables = np.random.default_rng(3).normal(size=(1, USERS, ITEMS))
    chosen = FullCatalog(k=(3, 10), metrics=("ndcg", "serendipity", "popularity_bias")).chosen
    settings = {"k": (3, 10), "chosen": chosen, "exclude_known": excluded}
    evaluation = CatalogEvaluator(Table(), HeldOut(known, target), **settings)(params(tables), Hyper())
    assert list(evaluation.per_user) == [
        f"{key}@{k}" for k in (3, 10) for key in ("ndcg", "serendipity", "popularity_bias")
    ]
    counts = np.bincount(known.item, minlength=ITEMS)
    owners = [len(set(known.user[known.item == item].tolist())) for item in range(ITEMS)]
    share = np.maximum(owners, 1) / len(set(known.user.tolist()))
    lists, found = np.asarray(evaluation.lists[0]), {key: [] for key in evaluation.per_user}
    for user, ranked in zip(evaluation.users, lists, strict=True):
        own = known.item[known.user == user]
        relevant = set(target.item[target.user == user].tolist())
        popular = [i for i in np.lexsort((np.arange(ITEMS), -counts)) if not excluded or i not in own]
        for k in (3, 10):
            listed = [i for i in ranked[:k] if i >= 0]
            unexpected = relevant & set(listed) - set(popular[:k])
            found[f"serendipity@{k}"].append(len(unexpected) / k)
            bias = share[listed].mean() / share[own].mean() - 1 if len(own) and listed else np.nan
            found[f"popularity_bias@{k}"].append(bias)
    for key in ("serendipity@3", "serendipity@10", "popularity_bias@3", "popularity_bias@10"):
        np.testing.assert_allclose(evaluation.per_user[key][0], found[key], rtol=1e-5, atol=1e-6, err_msg=key)
        assert evaluation.means(0)[key] == pytest.approx(np.nanmean(found[key]), rel=1e-4)
    assert np.isnan(found["popularity_bias@3"]).any()
    assert sum(found["serendipity@10"]) > 0


def test_metrics_for_test_only_are_not_measured_on_validation():
    evaluation = FullCatalog(metrics=("ndcg", "gini"), test_metrics=("rbp(p=0.9)", "gini", "novelty"), k=(5, 10))
    assert evaluation.measured == ("ndcg@5", "gini@5", "ndcg@10", "gini@10")
    further = ("ndcg@5", "rbp(p=0.9)@5", "novelty@5", "gini@5", "ndcg@10", "rbp(p=0.9)@10", "novelty@10", "gini@10")
    known, _ = known_and_target()
    assert evaluation.for_test(known).measured == further
    values = Predictions(test_metrics=("err",))
    assert set(values.for_test(known).measured) - set(values.measured) == {"err@5", "err@10", "err@20"}
    with pytest.raises(InputError, match=r"eval\.test_metrics: unknown metric ndgc"):
        FullCatalog(test_metrics=("ndgc",))
    with pytest.raises(InputError, match=r"eval\.test_metrics: auc is a metric of predicted labels"):
        FullCatalog(test_metrics=("auc",))


def test_novelty_popularity_and_gini_against_numpy():
    """Novelty and popularity by the share of users who had an item; Gini by the mean difference over twice the mean."""
    known, target = known_and_target()
    known = known.joined(known.take(np.arange(9)))  # repeated rows count once
    tables = np.random.default_rng(2).normal(size=(2, USERS, ITEMS))
    chosen = FullCatalog(
        k=(3, 10), monitor="novelty@3", metrics=("ndcg", "novelty", "average_popularity", "gini")
    ).chosen
    evaluation = CatalogEvaluator(Table(), HeldOut(known, target), k=(3, 10), chosen=chosen)(params(tables), Hyper())
    owners = [len({u for u, i in zip(known.user, known.item, strict=True) if i == item}) for item in range(ITEMS)]
    share = np.maximum(owners, 1) / len(set(known.user.tolist()))
    for member in range(2):
        lists = np.asarray(evaluation.lists[member])
        for k in (3, 10):
            novelty = evaluation.per_user[f"novelty@{k}"][member]
            listed = [items[items >= 0] for items in lists[:, :k]]  # short lists are padded
            np.testing.assert_allclose(novelty, [-np.log2(share[items]).mean() for items in listed], rtol=1e-5)
            popularity = evaluation.per_user[f"average_popularity@{k}"][member]
            np.testing.assert_allclose(popularity, [share[items].mean() for items in listed], rtol=1e-5)
            counts = np.bincount(np.concatenate(listed), minlength=ITEMS)
            gini = np.abs(counts[:, None] - counts[None, :]).sum() / (2 * ITEMS**2 * counts.mean())
            assert evaluation.means(member)[f"gini@{k}"] == pytest.approx(gini, rel=1e-5)


def test_users_without_relevant_items_are_excluded_and_counted():
    known, target = known_and_target()
    evaluation = CatalogEvaluator(Table(), HeldOut(known, target), k=(1, 10))(
        params(np.zeros((2, USERS, ITEMS))), Hyper()
    )
    np.testing.assert_array_equal(evaluation.users, np.delete(np.arange(USERS), [3, 29]))
    assert evaluation.per_user["ndcg@10"].shape == (2, 28)
    assert not np.isnan(evaluation.per_user["ndcg@10"]).any()
    named = replace(known, user_ids=np.array([f"u{user}" for user in range(USERS)]))
    table = evaluation.table(0, named)
    assert table.user_id.tolist() == [f"u{user}" for user in range(USERS) if user not in (3, 29)]
    low, high = evaluation.intervals(0)["ndcg@10"]
    assert low <= evaluation.means(0)["ndcg@10"] <= high


def test_a_perfect_model_scores_one_and_its_reverse_zero():
    known, target = known_and_target()
    perfect = np.zeros((USERS, ITEMS))
    perfect[target.user, target.item] = 1
    evaluation = CatalogEvaluator(Table(), HeldOut(known, target), k=(1, 10))(
        params(np.stack([perfect, -perfect])), Hyper()
    )
    assert (evaluation.per_user["ndcg@10"][0] == 1).all()
    assert (evaluation.per_user["map@10"][0] == 1).all()
    enough = evaluation.users != 5  # with only three items left, two are always found
    assert (evaluation.per_user["hit_rate@1"][1][enough] == 0).all()


def test_a_diverged_member_has_no_metrics_and_the_others_have_theirs():
    known, target = known_and_target()
    tables = np.random.default_rng(4).normal(size=(2, USERS, ITEMS))
    evaluator = CatalogEvaluator(Table(), HeldOut(known, target), k=(1, 10))
    expected = evaluator(params(tables), Hyper())
    tables[1, 0, 0] = np.nan
    found = evaluator(params(tables), Hyper())
    assert found.means(0) == expected.means(0)
    assert np.isnan(list(found.means(1).values())).all()


@pytest.mark.slow
def test_a_constant_model_is_no_better_than_a_random_order():
    """Ids are in order of popularity, as in many catalogs: ties broken by id would favor popular items."""
    rng = np.random.default_rng(2)
    n_users, n_items, n_orders = 200, 100, 40
    share = 1 / (1 + np.arange(n_items))
    chosen = np.concatenate([rng.choice(n_items, 5, replace=False, p=share / share.sum()) for _ in range(n_users)])
    everyone = np.concatenate([chosen, np.arange(n_items)])  # a last user, so that every item is in the catalog
    user = np.concatenate([np.repeat(np.arange(n_users), 5), np.full(n_items, n_users)])
    data = encode(pd.DataFrame({"user_id": user, "item_id": everyone}), name="planted")
    target = data.take(data.user < n_users)
    nothing = data.take(np.zeros(0, int))
    orders = np.stack([rng.permutation(n_items) for _ in range(n_orders)])
    by_id = -data.item_ids  # the smallest id first
    scores = np.concatenate([np.zeros((1, n_items)), by_id[None], orders])
    model = Table(data.n_users, n_items)
    tables = np.broadcast_to(scores[:, None], (2 + n_orders, data.n_users, n_items))
    found = (
        CatalogEvaluator(model, HeldOut(nothing, target), k=(10,))(params(tables), Hyper())
        .per_user["ndcg@10"]
        .mean(axis=1)
    )
    limit = found[2:].mean() + 3 * found[2:].std()
    assert found[0] < limit < found[1]


@pytest.mark.parametrize("block", some_slow([1, 4, 28, 1000], 1, 28, 1000))
def test_metrics_do_not_depend_on_the_block_size(block):
    known, target = known_and_target()
    tables = np.random.default_rng(3).normal(size=(2, USERS, ITEMS))
    whole, blocks = (
        CatalogEvaluator(Table(), HeldOut(known, target), k=(1, 10), block=b)(params(tables), Hyper())
        for b in (None, block)
    )
    assert [whole.means(member) for member in range(2)] == [blocks.means(member) for member in range(2)]


def test_k_beyond_the_catalog_names_its_key():
    known, target = known_and_target()
    with pytest.raises(InputError, match=r"eval\.k=51 exceeds the 50 items .* eval\.k=\[50\] eval\.monitor=ndcg@50"):
        FullCatalog(k=(5, 51, 10)).evaluator(Table(), HeldOut(known, target))
    evaluator = FullCatalog(k=(50,), monitor="ndcg@50", exclude_known=False).evaluator(Table(), HeldOut(known, target))
    evaluation = evaluator(params(np.zeros((1, USERS, ITEMS))), Hyper())
    assert evaluation.means(0)["recall@50"] == 1  # the whole catalog contains all relevant items


def test_users_in_a_sample_have_the_metrics_they_have_among_all_users():
    known, target = known_and_target()
    tables = params(np.random.default_rng(4).normal(size=(1, USERS, ITEMS)))

    def evaluated(users):
        return FullCatalog(users=users).evaluator(Table(), HeldOut(known, target))(tables, Hyper())

    whole, some = evaluated(None), evaluated(5)
    assert len(some.users) == 5
    assert set(some.users) < set(whole.users)
    np.testing.assert_array_equal(some.users, evaluated(5).users)
    for key, values in some.per_user.items():
        np.testing.assert_array_equal(values, whole.per_user[key][:, np.isin(whole.users, some.users)])
    np.testing.assert_array_equal(evaluated(USERS).users, whole.users)


@pytest.mark.parametrize("excluded", [True, False])
def test_known_items_are_listed_if_exclude_known_is_false(excluded):
    known, target = known_and_target()
    table = np.zeros((USERS, ITEMS))
    table[known.user, known.item] = 1
    evaluator = FullCatalog(k=(1,), monitor="ndcg@1", exclude_known=excluded).evaluator(Table(), HeldOut(known, target))
    evaluation = evaluator(params(table[None]), Hyper())
    pairs = set(zip(known.user.tolist(), known.item.tolist(), strict=True))
    owners = np.isin(evaluation.users, known.user)
    listed = zip(evaluation.users[owners].tolist(), np.asarray(evaluation.lists)[0, owners, 0].tolist(), strict=True)
    assert {pair in pairs for pair in listed} == {not excluded}


def test_means_of_more_users_than_one_block_of_sums():
    values = np.random.default_rng(5).random((2, 2 * SUMMED + 3)).astype(np.float32)
    means = _means(OrderedDict(ndcg=jnp.asarray(values)))["ndcg"]
    np.testing.assert_allclose(means, values.mean(axis=1, dtype=np.float64), rtol=1e-6)


def test_means_exclude_rows_where_a_metric_is_undefined():
    values = jnp.array([[0.5, jnp.nan, 1.0], [jnp.nan] * 3])
    np.testing.assert_allclose(_means(OrderedDict(bias=values))["bias"], [0.75, np.nan])


def test_shares_of_users_in_blocks(monkeypatch):
    """Each user is in one block, with all rows; repeated rows count once."""
    known, _ = known_and_target()
    known = known.joined(known.take(np.arange(9)))
    owners = [len(set(known.user[known.item == item].tolist())) for item in range(ITEMS)]
    monkeypatch.setattr("jaxrec.data.large_columns.BLOCK", 7)
    np.testing.assert_allclose(known.shares, np.maximum(owners, 1) / len(set(known.user.tolist())), rtol=1e-6)


def test_shares_of_users():
    """The only user has item 0; an item without users counts as one user's."""
    assert encode(pd.DataFrame({"user_id": ["a"], "item_id": ["x"]}), name="one").shares.tolist() == [1.0]
