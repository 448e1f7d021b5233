"""Predictions of held-out rows against numpy and scikit-learn, in blocks and for populations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from jaxrec.data.interactions import Interactions
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation.prediction import Predictions
from jaxrec.hyper import Hyper
from jaxrec.metric_names import larger_is_better
from jaxrec.metrics import auc, log_loss
from jaxrec.models.mf import MatrixFactorization
from jaxrec.query import Query
from tests.slow import some_slow

USERS, ITEMS = 15, 40


def held() -> HeldOut:
    rng = np.random.default_rng(0)
    pairs = rng.permutation(USERS * ITEMS)[:300]
    value = rng.integers(1, 6, 300).astype(np.float32)
    user, item = (column.astype(np.int32) for column in np.divmod(pairs, ITEMS))
    data = Interactions(user, item, value, None, None, np.arange(USERS), np.arange(ITEMS))
    return HeldOut(data.take(np.arange(200)), data.take(np.arange(200, 300)))


def population() -> tuple[MatrixFactorization, dict, Hyper]:
    model = MatrixFactorization(USERS, ITEMS, 4, init_std=1.5)
    asked = Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32)
    params = jax.jit(jax.vmap(lambda seed: model.init(jax.random.key(seed), *asked)))(np.arange(3))
    return model, params, Hyper()


def scores(member: int) -> np.ndarray:
    _, params, _ = population()
    tables = jax.tree.map(lambda x: np.asarray(x[member], np.float64), params["params"])
    p, q = tables["user_embedding"]["table"], tables["item_embedding"]["table"]
    target = held().target
    return (p[target.user] * q[target.item]).sum(axis=1)


@pytest.mark.parametrize("block", some_slow([None, 7, 1000], None, 1000))
def test_errors_against_numpy(block):
    model, params, hyper = population()
    found = Predictions(k=(5,), block=block).evaluator(model, held())(params, hyper)
    for member in range(3):
        errors = held().target.value - scores(member)
        means = found.means(member)
        assert means["mse"] == pytest.approx(np.mean(errors**2), rel=1e-5)
        assert means["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-5)
        assert means["mae"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-5)
        assert 0 <= means["ndcg@5"] <= 1


def test_click_metrics_against_scikit_learn():
    model, params, hyper = population()
    evaluation = Predictions(k=(5,), monitor="log_loss", threshold=3.0)
    found = evaluation.evaluator(model, held())(params, hyper)
    labels = held().target.value >= 3
    for member in range(3):
        chance = 1 / (1 + np.exp(-scores(member)))
        assert found.means(member)["auc"] == pytest.approx(roc_auc_score(labels, chance), rel=1e-5)
        assert found.means(member)["log_loss"] == pytest.approx(sklearn_log_loss(labels, chance), rel=1e-5)
        assert "rmse" not in found.means(member)


def test_equal_scores_count_half():
    values, labels = np.array([0.0, 1, 1, 1, 2, -1]), np.array([0, 0, 1, 1, 1, 1])
    found = jax.jit(auc)(values.astype(np.float32), labels.astype(np.float32))
    assert float(found) == pytest.approx(roc_auc_score(labels, values))
    assert np.isnan(jax.jit(auc)(np.ones(6, np.float32), np.ones(6, np.float32)))


def test_extreme_scores_have_a_finite_loss():
    assert float(log_loss(jnp.array([200.0, -200.0]), jnp.array([0.0, 0.0]))) == pytest.approx(100)


def test_only_measured_metrics_can_be_monitored():
    with pytest.raises(InputError, match=r"eval\.monitor=auc is not among the metrics: choose one of ndcg@5, .* mae"):
        Predictions(k=(5,), monitor="auc")
    assert [larger_is_better(key) for key in ("ndcg@10", "auc", "rmse", "mse", "mae", "log_loss")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip


def test_the_error_for_data_without_values_says_what_to_add():
    model, _, _ = population()
    nothing = held()
    target = Interactions(*(getattr(nothing.target, name) for name in ("user", "item")), None, None, None,
                          np.arange(USERS), np.arange(ITEMS))  # fmt: skip
    with pytest.raises(InputError, match=r"data\.value_column"):
        Predictions(k=(5,)).evaluator(model, HeldOut(nothing.known, target))
