"""User groups and item groups against sets in plain Python."""

from dataclasses import replace

import numpy as np
import pytest

from jaxrec.data.splits.split import HeldOut
from jaxrec.evaluation.candidates import CandidateEvaluator
from jaxrec.evaluation.evaluation import Evaluation
from jaxrec.evaluation.full_catalog import CatalogEvaluator
from jaxrec.evaluation.ground_truth import ground_truth
from jaxrec.evaluation.groups import DEFINITIONS, _described, activity_groups, by_group, item_groups
from jaxrec.hyper import Hyper
from tests.evaluation.score_table import (
    ITEMS,
    USERS,
    Table,
    interactions,
    known_and_target,
    lists,
    of_user,
    params,
)

K = 10


def trained() -> np.ndarray:
    """Popular items first; the last ten are cold."""
    rng = np.random.default_rng(7)
    item = np.minimum(rng.geometric(0.08, 400) - 1, ITEMS - 11)
    return interactions(np.array([rng.integers(0, USERS, 400), item]))


def test_groups_of_items():
    train = trained()
    groups = item_groups(train)
    count = np.bincount(train.item, minlength=ITEMS)
    np.testing.assert_array_equal(groups["warm"], count > 0)
    np.testing.assert_array_equal(groups["cold"], ~groups["warm"])
    np.testing.assert_array_equal(groups["tail"], ~groups["head"])
    head = count[groups["head"]]
    assert head.min() >= count[groups["tail"]].max()
    assert head.sum() >= 200 > head.sum() - head.min(), "as few as make up half"
    halved = item_groups(interactions(np.array([[0, 1, 2, 3], [5, 5, 3, 4]])))
    assert np.flatnonzero(halved["head"]).tolist() == [5], "exactly half is enough"


def test_groups_of_users():
    users, known = np.arange(10), np.array([0, 5, 1, 1, 1, 9, 2, 2, 0, 7])
    groups = activity_groups(users, known)
    assert {name: known[rows].tolist() for name, rows in groups.items()} == {
        "new": [0, 0],
        "low": [1, 1, 1],
        "middle": [5, 2, 2],
        "high": [9, 7],
    }
    repeated = np.repeat(users, 1 + known)  # a user counts once for any number of rows
    again = activity_groups(repeated, np.repeat(known, 1 + known))
    assert {name: set(repeated[rows]) for name, rows in again.items()} == {
        name: set(users[rows]) for name, rows in groups.items()
    }
    assert list(activity_groups(users, np.zeros(10, int))) == ["new"]


def test_metrics_of_groups_against_sets():
    """Lists are longer than K: what follows rank K does not count."""
    known, target = known_and_target()
    train = trained()
    tables = np.random.default_rng(1).integers(0, 12, (2, USERS, ITEMS)).astype(float)
    evaluation = CatalogEvaluator(Table(), HeldOut(known, target), k=(1, K, K + 5))(params(tables), Hyper())
    n_known = np.bincount(known.user, minlength=USERS)
    for member, found in enumerate(by_group(evaluation, train, K)):
        ranked = {}
        for user in evaluation.users.tolist():
            hidden = set(known.item[known.user == user].tolist())
            scores = tables[member, user]
            ranked[user] = sorted(set(range(ITEMS)) - hidden, key=lambda i, scores=scores: (-scores[i], i))
        relevant = {user: set(target.item[target.user == user].tolist()) for user in ranked}
        assert list(found["items"]) == ["warm", "cold", "head", "tail"]
        for name, mask in item_groups(train).items():
            members = set(np.flatnonzero(mask).tolist())
            rows = [of_user(ranked[u], relevant[u] & members, K) for u in ranked if relevant[u] & members]
            check(found["items"][name], rows)
        assert list(found["users"]) == ["new", "low", "middle", "high"]
        for name, mask in activity_groups(evaluation.users, n_known[evaluation.users]).items():
            mine = evaluation.users[mask].tolist()
            check(found["users"][name], [of_user(ranked[u], relevant[u], K) for u in mine])
            assert found["users"][name]["known"] == [n_known[mine].min(), n_known[mine].max()]
        assert {name for groups in found.values() for name in groups} == set(DEFINITIONS)
    found, _ = by_group(replace(evaluation, finite=np.array([False, True])), train, K)
    assert all(np.isnan(group[f"ndcg@{K}"]) for groups in found.values() for group in groups.values())


def test_the_last_user_may_have_no_target_in_a_group():
    """The targets of user 0 are a head and a tail item, that of user 1 is the head item."""
    train = interactions(np.array([[2, 3, 4, 5], [7, 7, 7, 8]]))
    target = interactions(np.array([[0, 0, 1], [7, 8, 7]]))
    held = HeldOut(interactions(np.zeros((2, 0), int)), target)
    evaluation = CatalogEvaluator(Table(), held, k=(K,))(params(np.zeros((1, USERS, ITEMS))), Hyper())
    (found,) = by_group(evaluation, train, K)
    assert {name: group["users"] for name, group in found["items"].items()} == {"warm": 2, "head": 2, "tail": 1}


def check(found: dict, rows: list[dict[str, float]]) -> None:
    assert found["users"] == found["rows"] == len(rows) > 0
    for key in (f"ndcg@{K}", f"recall@{K}"):
        assert found[key] == pytest.approx(np.mean([row[key] for row in rows]), abs=1e-6)


@pytest.mark.slow
def test_sampled_groups_are_labeled_and_are_means_over_held_out_items():
    known, target = known_and_target()
    train = trained()
    tables = np.random.default_rng(1).normal(size=(1, USERS, ITEMS))
    evaluation = CandidateEvaluator(Table(), HeldOut(known, target), lists(), k=(3,))(params(tables), Hyper())
    (found,) = by_group(evaluation, train, 3)
    items = evaluation.ground_truth.items
    for name, mask in item_groups(train).items():
        rows = mask[items]
        assert found["items"][name]["rows"] == rows.sum()
        assert found["items"][name]["users"] == len(set(evaluation.users[rows].tolist()))
        for key in ("sampled_ndcg@3", "sampled_recall@3"):
            expected = evaluation.per_user[key][0][rows].mean()
            assert found["items"][name][key] == pytest.approx(expected, abs=1e-6)


def test_a_user_with_several_rows_counts_once():
    held_out = HeldOut(*[interactions(np.array([[4, 4, 3, 4, 2], [1, 2, 3, 4, 5]]))] * 2)
    truth = ground_truth(held_out, one_per_row=True)  # rows of users 2, 3, 4, 4 and 4
    evaluation = Evaluation(truth, {}, {}, np.zeros((1, 5, 1), int), np.ones(1, bool))
    found = _described(evaluation, np.array([False, True, True, True, False]), ["ndcg@5"], [np.arange(5.0)])
    assert found == {"users": 2, "rows": 3, "ndcg@5": 2.0}
