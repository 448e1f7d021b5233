"""Calibration of lists to the categories of histories, against loops over sets in plain Python."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation import categories
from jaxrec.evaluation.full_catalog import FullCatalog
from jaxrec.evaluation.prediction import Predictions
from jaxrec.hyper import Hyper
from tests.evaluation.score_table import ITEMS, USERS, Table, interactions, known_and_target, params

KS = (3, 10)


def genres() -> list[list[str]]:
    """Up to three of six genres for each item; every eighth item has none."""
    rng = np.random.default_rng(5)
    return [[] if i % 8 == 0 else rng.choice(list("abcdef"), rng.integers(1, 4), False).tolist() for i in range(ITEMS)]


def with_features(known, **columns):
    return replace(known, item_features=pd.DataFrame(columns))


def shares(items, of_items) -> dict[str, float]:
    """Return the mean distribution of genres over the items that have genres."""
    labeled = [of_items[item] for item in items if of_items[item]]
    return {g: sum((g in own) / len(own) for own in labeled) / len(labeled) for g in "abcdef"} if labeled else {}


def error(listed, history, of_items) -> float:
    own, mix = shares(history, of_items), shares(listed, of_items)
    if not own or not mix:
        return np.nan
    return sum(p * np.log(p / (0.99 * mix[g] + 0.01 * p)) for g, p in own.items() if p)


@pytest.mark.parametrize("entries", [1 << 22, 40])
def test_calibration_error_against_plain_python(entries, monkeypatch):
    """User 4 has no history, the history of user 6 has no genres, the lists of user 5 are short."""
    monkeypatch.setattr(categories, "ENTRIES", entries)
    monkeypatch.setattr(categories, "ROWS", 7)
    known, target = known_and_target()
    kept = (known.user != 6) | (known.item % 8 == 0)
    known, of_items = known.take(kept), genres()
    known = with_features(known, genres=of_items, other=["x", "y"] * (ITEMS // 2))
    tables = np.random.default_rng(4).normal(size=(2, USERS, ITEMS))
    tables[:, 7, ::8] = 9.0  # the first item of the list of user 7 has no genre
    settings = FullCatalog(k=KS, metrics=("ndcg", "calibration_error"))
    evaluation = settings.evaluator(Table(), HeldOut(known, target))(params(tables), Hyper())
    for member in range(2):
        for k in KS:
            expected = [
                error([i for i in ranked[:k] if i >= 0], known.item[known.user == user], of_items)
                for user, ranked in zip(evaluation.users, np.asarray(evaluation.lists[member]), strict=True)
            ]
            found = evaluation.per_user[f"calibration_error@{k}"][member]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
            unknown = {4, 6, 7} if k == 3 else {4, 6}
            assert unknown <= set(evaluation.users[np.isnan(found)].tolist())
    assert not settings.chosen[1].larger_is_better


def test_the_column_is_chosen_by_default_names_or_by_setting():
    known, target = known_and_target()
    known = with_features(known, shop=["x", "y"] * (ITEMS // 2), Category=["p", "q", "r", "s", "t"] * (ITEMS // 5))
    tables = np.random.default_rng(4).normal(size=(1, USERS, ITEMS))
    for column, names in ((None, list("pqrst")), ("shop", list("xy"))):
        of_items = [[names[i % len(names)]] for i in range(ITEMS)]
        settings = FullCatalog(k=(5,), metrics=("ndcg", "calibration_error"), monitor="ndcg@5", category=column)
        evaluation = settings.evaluator(Table(), HeldOut(known, target))(params(tables), Hyper())
        user, ranked = evaluation.users[0], evaluation.lists[0, 0]
        own = known.item[known.user == user]
        shared = {n: [sum(of_items[i] == [n] for i in part) / len(part) for part in (own, ranked)] for n in names}
        expected = sum(p * np.log(p / (0.99 * q + 0.01 * p)) for p, q in shared.values() if p)
        assert evaluation.per_user["calibration_error@5"][0, 0] == pytest.approx(expected, rel=1e-4)


UNUSABLE = {
    "none": {},
    "other names": {"title": ["x", "y"] * (ITEMS // 2)},
    "numbers": {"genre": np.arange(ITEMS)},
    "free text": {"genre": [f"text {i}" for i in range(ITEMS)]},
}


@pytest.mark.parametrize("columns", UNUSABLE.values(), ids=UNUSABLE)
def test_without_categories_it_is_omitted_and_an_error_if_requested(columns):
    known, target = known_and_target()
    known = with_features(known, **columns) if columns else known
    usual = FullCatalog(k=(5,), monitor="ndcg@5")
    assert "calibration_error@5" not in usual.for_test(known).measured
    usual.check_data(known)
    usual.for_test(known).evaluator(Table(), HeldOut(known, target))
    names = ", ".join(columns) or "none"
    for asking in ({"metrics": ("ndcg", "calibration_error")}, {"test_metrics": ("calibration_error",)}):
        with pytest.raises(InputError, match=rf"need a column of categories .* one of these: {names}; or leave"):
            FullCatalog(k=(5,), monitor="ndcg@5", **asking).check_data(known)
    with pytest.raises(InputError, match=rf"eval\.category=shop: no such column in the item features; .*: {names}"):
        FullCatalog(category="shop").check_data(known)


def test_a_given_column_without_categories_is_refused():
    known = with_features(known_and_target()[0], **UNUSABLE["free text"])
    with pytest.raises(InputError, match=r"eval\.category=genre is not a category column: free text"):
        FullCatalog(category="genre").check_data(known)


def test_with_categories_calibration_is_measured_on_test():
    known = with_features(interactions(np.array([[0, 1], [0, 1]])), genres=genres())
    for settings in (FullCatalog(k=(5,), monitor="ndcg@5"), Predictions(k=(5,))):
        assert "calibration_error@5" not in settings.measured
        assert "calibration_error@5" in settings.for_test(known).measured
