"""Sampled evaluation against one loop over held-out items in plain Python."""

import numpy as np
import pytest

from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation import candidates
from jaxrec.evaluation.candidates import CandidateEvaluation, CandidateEvaluator
from jaxrec.hyper import Hyper
from tests.evaluation.score_table import ITEMS, USERS, Table, known_and_target, lists, of_user, params
from tests.slow import some_slow

KS = (1, 3, 8)


@pytest.mark.parametrize("block", some_slow([None, 7], None))
def test_ranks_against_plain_python(block):
    """Three members and many ties, which the relevant item loses."""
    known, target = known_and_target()
    tables = np.random.default_rng(1).integers(0, 6, (3, USERS, ITEMS)).astype(float)
    offsets, items = lists()
    evaluator = CandidateEvaluator(Table(), HeldOut(known, target), (offsets, items), k=KS[::-1], block=block)
    found = evaluator(params(tables), Hyper())
    order = np.lexsort((np.arange(len(target)), target.user))
    np.testing.assert_array_equal(found.users, target.user[order])
    assert found.table(0, known)["item_id"].tolist() == target.item[order].tolist()
    for member in range(3):
        rows = []
        for user, item in zip(target.user[order].tolist(), target.item[order].tolist(), strict=True):
            others = set(items[offsets[user] : offsets[user + 1]].tolist()) - {item}
            score = tables[member, user]
            ranked = sorted([item, *others], key=lambda i, score=score, item=item: (-score[i], i == item))
            rows.append({f"sampled_{key}": v for k in KS for key, v in of_user(ranked, {item}, k).items()})
        assert list(found.per_user) == list(rows[0])
        for key in rows[0]:
            expected = np.array([row[key] for row in rows])
            np.testing.assert_allclose(found.per_user[key][member], expected, rtol=1e-5, atol=1e-7, err_msg=key)
            assert found.means(member)[key] == pytest.approx(expected.mean(), abs=1e-6)
    assert set(found.means(0)) == set(rows[0]), "no number without its prefix"


def test_a_constant_model_has_no_hits():
    known, target = known_and_target()
    target = target.take(target.user != 5)  # with only one other item left
    evaluation = CandidateEvaluation(n=9, k=(5,), monitor="sampled_ndcg@5").evaluator(Table(), HeldOut(known, target))(
        params(np.zeros((1, USERS, ITEMS))), Hyper()
    )
    assert evaluation.means(0)["sampled_hit_rate@5"] == 0


def test_candidates_are_drawn_by_the_seed(monkeypatch):
    drawn = []
    monkeypatch.setattr(candidates, "draw_candidates", lambda held, n, seed: drawn.append((n, seed)) or lists())
    known, target = known_and_target()
    CandidateEvaluation(n=9, k=(5,), monitor="sampled_ndcg@5", seed=4).evaluator(Table(), HeldOut(known, target))
    assert drawn == [(9, 4)]


def test_a_diverged_member_has_no_metrics():
    known, target = known_and_target()
    tables = np.random.default_rng(4).normal(size=(2, USERS, ITEMS))
    tables[1, target.user[0], target.item[0]] = np.nan
    found = CandidateEvaluator(Table(), HeldOut(known, target), lists(), k=(5,))(params(tables), Hyper())
    assert np.isfinite(list(found.means(0).values())).all()
    assert np.isnan(list(found.means(1).values())).all()


def test_invalid_settings_are_named():
    known, target = known_and_target()
    with pytest.raises(
        InputError, match=r"eval\.monitor=ndcg@10 is not among the metrics: choose one of sampled_ndcg@5"
    ):
        CandidateEvaluation(monitor="ndcg@10")
    with pytest.raises(InputError, match=r"eval\.k=20 exceeds the 6 ranked items"):
        CandidateEvaluation(n=5).evaluator(Table(), HeldOut(known, target))
