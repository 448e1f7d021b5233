"""Sampled evaluation against one loop over held-out items in plain Python."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.split import Held
from jaxrec.errors import InputError
from jaxrec.evaluation.candidates import CandidateEvaluator, Candidates
from jaxrec.models import Model
from jaxrec.query import Query
from tests.evaluation.test_full_catalogue import ITEMS, USERS, hyper, known_and_target, of_user, params

KS = (1, 3, 8)


class Table(Model):
    """Scores that are given."""

    n_users: int = USERS
    n_items: int = ITEMS

    def setup(self) -> None:
        self.scores = self.param("scores", nn.initializers.zeros, (self.n_users, self.n_items))

    def __call__(self, query: Query, items: jax.Array) -> jax.Array:
        return jnp.take_along_axis(self.scores[query.user], items, axis=1)


def lists() -> tuple[np.ndarray, np.ndarray]:
    """From 1 to 12 candidates of each user, in no order; they may be known, sought, or the very item that is ranked."""
    rng = np.random.default_rng(5)
    drawn = [rng.permutation(ITEMS)[: rng.integers(1, 13)] for _ in range(USERS)]
    return np.cumsum([0, *map(len, drawn)]), np.concatenate(drawn)


@pytest.mark.parametrize("block", [None, 7])
def test_every_rank_is_that_of_plain_python(block):
    """Three members, many ties, each lost by the item sought."""
    known, target = known_and_target()
    tables = np.random.default_rng(1).integers(0, 6, (3, USERS, ITEMS)).astype(float)
    offsets, items = lists()
    evaluator = CandidateEvaluator(Table(), Held(known, target), (offsets, items), k=KS[::-1], block=block)
    found = evaluator(params(tables), hyper(3))
    order = np.lexsort((np.arange(len(target)), target.user))
    np.testing.assert_array_equal(found.users, target.user[order])
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


def test_a_constant_model_finds_nothing():
    known, target = known_and_target()
    target = target.take(target.user != 5)  # who has but one other item left
    evaluation = Candidates(n=9, k=(5,), monitor="sampled_ndcg@5").evaluator(Table(), Held(known, target))(
        params(np.zeros((1, USERS, ITEMS))), hyper(1)
    )
    assert evaluation.means(0)["sampled_hit_rate@5"] == 0


def test_a_diverged_member_has_no_metrics():
    known, target = known_and_target()
    tables = np.random.default_rng(4).normal(size=(2, USERS, ITEMS))
    tables[1, target.user[0], target.item[0]] = np.nan
    found = CandidateEvaluator(Table(), Held(known, target), lists(), k=(5,))(params(tables), hyper(2))
    assert np.isfinite(list(found.means(0).values())).all()
    assert np.isnan(list(found.means(1).values())).all()


def test_mistakes_are_named():
    known, target = known_and_target()
    with pytest.raises(InputError, match=r"eval\.monitor=ndcg@10 is not measured; there are sampled_ndcg@5"):
        Candidates(monitor="ndcg@10")
    with pytest.raises(InputError, match=r"eval\.k=20 is more than the 6 items that are ranked"):
        Candidates(n=5).evaluator(Table(), Held(known, target))
