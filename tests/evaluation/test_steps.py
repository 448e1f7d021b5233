"""Next-item evaluation at every step of a session, against a loop over sessions and steps in numpy."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxrec.bootstrap import mean_and_interval
from jaxrec.data.features import Encoded
from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.splits.session_split import by_session
from jaxrec.evaluation.evaluation import Evaluation
from jaxrec.evaluation.full_catalog import CatalogEvaluator, FullCatalog
from jaxrec.evaluation.ground_truth import GroundTruth, ground_truth
from jaxrec.hyper import Hyper
from jaxrec.models.ease import EASE
from jaxrec.ranking import QueryRows
from tests.evaluation.score_table import known_and_target, of_user
from tests.slow import some_slow

KS, HOUR, ITEMS = (1, 5), 3_600_000, 20


@pytest.fixture(scope="module")
def source() -> Interactions:
    """Unordered rows, many ties in time, repeated items; a third of the rows are history only."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "user_id": rng.integers(0, 12, 500),
            "item_id": np.concatenate([np.arange(ITEMS), rng.integers(0, ITEMS, 480)]),
            "time": rng.integers(0, 100, 500) * HOUR,
            "target": rng.random(500) < 0.67,
        }
    )
    return encode(frame, name="drawn")


def weights(n_members: int) -> np.ndarray:
    """Small whole numbers: many ties, and sums that do not depend on the order."""
    return np.random.default_rng(1).integers(-2, 3, (n_members, ITEMS, ITEMS)).astype(np.float32)


@pytest.mark.parametrize("with_views", some_slow([False, True], False))
@pytest.mark.parametrize("block", some_slow([None, 7], None))
def test_every_step_against_a_loop(source, with_views, block):
    source = source if with_views else replace(source, target=None)
    split = by_session(source, gap_minutes=90.0, validation_days=0.0, test_days=2.0)
    held = split.test
    session_of = {name: number for number, name in enumerate(held.known.user_ids.tolist())}
    everything = held.joined()
    longest = int(np.bincount(everything.user).max())
    evaluator = CatalogEvaluator(EASE(ITEMS, longest), held, k=KS, block=block)
    found = evaluator({"params": {"weights": weights(2)}}, Hyper())

    asked = set(held.target.user.tolist())
    for member in range(2):
        rows, users, items, known = [], [], [], []
        for session in sorted(asked):
            mine = np.flatnonzero(everything.user == session)
            mine = sorted(mine, key=lambda row: (everything.time[row], row))
            for step in range(1, len(mine)):
                if with_views and not everything.target[mine[step]]:
                    continue
                before = sorted({everything.item[row] for row in mine[:step]})
                scores = weights(2)[member][before].sum(axis=0)
                ranked = sorted(range(ITEMS), key=lambda item, scores=scores: (-scores[item], item))
                target = int(everything.item[mine[step]])
                rows.append({key: value for k in KS for key, value in of_user(ranked, {target}, k).items()})
                users.append(session)
                items.append(target)
                known.append(step)
        assert len(rows) == len(held.target) > 50
        for key in rows[0]:
            expected = [row[key] for row in rows]
            np.testing.assert_allclose(found.per_user[key][member], expected, rtol=1e-5, atol=1e-7, err_msg=key)
        table = found.table(member, held.known)
        assert [session_of[name] for name in table.user_id] == users
        assert table.item_id.tolist() == held.known.item_ids[items].tolist()
        assert table.known.tolist() == known


def test_items_of_a_session_are_not_masked(source):
    """A model that recommends earlier items finds the repeats."""
    split = by_session(replace(source, target=None), gap_minutes=90.0, validation_days=0.0, test_days=2.0)
    held = split.test
    evaluator = FullCatalog(k=(5, ITEMS), monitor=f"recall@{ITEMS}").evaluator(EASE(ITEMS, 50), held)
    found = evaluator({"params": {"weights": np.eye(ITEMS, dtype=np.float32)[None]}}, Hyper())
    assert (found.per_user[f"recall@{ITEMS}"] == 1).all()


def test_models_receive_features_at_every_step(source):
    split = by_session(replace(source, target=None), gap_minutes=90.0, validation_days=0.0, test_days=2.0)
    features = Encoded.holding(None, None)
    held = replace(split.test, known=replace(split.test.known, encoded=features))
    assert ground_truth(held).queries.encoded is features


def test_intervals_resample_all_rows_of_a_user_together():
    """Four users with equal rows each: the interval is that of four values, not of forty."""
    users, known = np.repeat(np.arange(4), 10), known_and_target()[0].histories
    rows = GroundTruth(QueryRows.for_users(users, known), np.arange(41), users, one_per_row=True)
    of_user = np.array([0.0, 0.2, 0.7, 1.0])
    found = Evaluation(rows, {"ndcg@5": of_user[users][None]}, {}, jnp.zeros((1, 40, 5), int), np.ones(1, bool))
    assert found.intervals(0)["ndcg@5"] == pytest.approx(mean_and_interval(of_user)[1:])


def test_intervals_resample_all_steps_of_a_session_together(source):
    split = by_session(replace(source, target=None), gap_minutes=90.0, validation_days=0.0, test_days=2.0)
    found = CatalogEvaluator(EASE(ITEMS, 50), split.test, k=(5, ITEMS))({"params": {"weights": weights(1)}}, Hyper())
    values, users = found.per_user["ndcg@5"][0].astype(np.float64), found.users
    per_session = pd.Series(values - values.mean()).groupby(users).sum()
    error = np.sqrt((per_session**2).sum()) / len(values)  # of a ratio of sums, to first order
    low, high = found.intervals(0)["ndcg@5"]
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)
