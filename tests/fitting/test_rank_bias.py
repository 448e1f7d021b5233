"""Promoted items are shown at high ranks and clicked for it: with known ranks, preferences are learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxrec import launch
from jaxrec.checkpoint import load_params
from jaxrec.data.interactions import Interactions
from jaxrec.data.sources.files import files
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation.prediction import Predictor
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.optimizers import adam
from jaxrec.fitting.pointwise import RANKS, PointwiseObjective
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.losses import logistic
from jaxrec.models.mf import MatrixFactorization
from jaxrec.query import Query
from jaxrec.random import stream
from jaxrec.recommend.recommender import load

USERS, ITEMS, SHOWN = 4, 30, 6
OF_RANK = np.array([0.0, -0.8, -1.4, -1.9, -2.3, -2.6])  # by rank, added to the logit of a click


@pytest.fixture(scope="module")
def log() -> tuple[pd.DataFrame, np.ndarray]:
    """Six random items per page, promoted ones first, clicked by appeal and rank; and the appeals."""
    rng = np.random.default_rng(1)
    appeal, promotion = rng.normal(0, 1, (2, ITEMS))
    pages = np.argsort(rng.random((5000, ITEMS)), axis=1)[:, :SHOWN]
    by_promotion = np.argsort(-(promotion[pages] + rng.normal(0, 0.7, pages.shape)), axis=1)
    item = np.take_along_axis(pages, by_promotion, axis=1)
    rank = np.broadcast_to(np.arange(1, SHOWN + 1), item.shape)
    click = rng.random(item.shape) < 1 / (1 + np.exp(-(appeal[item] + OF_RANK[rank - 1])))
    user = np.broadcast_to(rng.integers(0, USERS, 5000)[:, None], item.shape)
    columns = {"user_id": user, "item_id": item, "position": rank, "click": click.astype(np.float32)}
    return pd.DataFrame({name: column.ravel() for name, column in columns.items()}), appeal


def data(frame: pd.DataFrame, position: bool = True) -> Interactions:
    columns = (frame[name].to_numpy(np.int32) for name in ("user_id", "item_id"))
    ids = np.arange(USERS), np.arange(ITEMS)
    rank = frame["position"].to_numpy(np.int32) if position else None
    return Interactions(*columns, frame["click"].to_numpy(np.float32), None, None, *ids, position=rank)


@pytest.mark.slow
def test_promoted_items_are_not_taken_for_preferred_ones(log):
    frame, appeal = log
    numbers = {"optimizer.learning_rate": 0.05, "model.regularization": 1e-4}
    one = Hyper({key: np.array([x], np.float32) for key, x in numbers.items()})
    fit = GradientFit(PointwiseObjective(logistic, 1.0), adam, epochs=20, patience=None, batch_size=1000)
    likeness = {}
    for known in (False, True):
        model = MatrixFactorization(USERS, ITEMS, 1, init_std=1.0)
        params = jax.tree.map(lambda x: x[0], fit(model, data(frame, known), Population(np.zeros(1, int), one)).params)
        items = jnp.broadcast_to(jnp.arange(ITEMS), (USERS, ITEMS))
        scores = model.apply(params, Query(jnp.arange(USERS)), items).mean(axis=0)
        likeness[known] = np.corrcoef(scores, appeal)[0, 1]
        if known:
            found = np.asarray(params["params"][RANKS])
            np.testing.assert_allclose(found - found[0], OF_RANK, atol=0.25)
    assert likeness[False] < 0.85
    assert likeness[True] > 0.97


def test_biases_of_ranks_are_relative_to_the_first():
    frame = pd.DataFrame({"user_id": [0, 1, 2], "item_id": [3, 4, 5], "position": [1, 3, 2], "click": [1.0, 0.0, 1.0]})
    model, objective = MatrixFactorization(USERS, ITEMS, 2), PointwiseObjective(logistic, 1.0)
    examples, n = objective.examples(data(frame))
    query, items = Query(jnp.array([0, 1, 2])), jnp.array([[3], [4], [5]])
    params = objective.start(jax.jit(model.init)(jax.random.key(0), query, items), examples)
    # The mean, 2 of 3, is added as one row to one click at rank 1, one at rank 2 and none at rank 3.
    rates = (np.array([1, 1, 0]) + 2 / 3) / 2
    np.testing.assert_allclose(params["params"][RANKS], np.log(rates / (1 - rates)), rtol=1e-5)
    np.testing.assert_allclose(params["params"]["bias"], [np.log(5)], rtol=1e-5)
    learned = {"params": params["params"] | {RANKS: jnp.array([0.5, -1.0, 2.0])}}
    source, score = stream(jax.random.key(0)), jax.jit(model.apply)(learned, query, items)
    cost, _ = jax.jit(lambda rows: objective.costs(model, learned, examples, rows, source, False))(jnp.arange(n))
    logit = np.asarray(score)[:, 0] + [0, 1.5, -1.5]
    np.testing.assert_allclose(cost, np.log1p(np.exp(np.where([1, 0, 1], -logit, logit))), rtol=1e-5)
    # A held-out row is predicted at its own rank; a rank beyond the learned ones counts as the last.
    shown = data(frame.assign(position=[1, 2, 9]))
    members = jax.tree.map(lambda x: x[None], learned), Hyper()
    predicted = Predictor(model, HeldOut(shown, shown))(*members)[0]
    np.testing.assert_allclose(predicted, np.asarray(score)[:, 0] + [0, -1.5, 1.5])


@pytest.mark.slow
def test_recommendations_score_every_item_as_if_shown_first(log, compose, tmp_path):
    frame, _ = log
    frame[:3000].assign(user_id=np.arange(3000) // 24).to_csv(tmp_path / "log.csv", index=False)
    read = ["data=files", f"data.path={tmp_path / 'log.csv'}", "data.duplicates=keep", "data.value_column=click"]
    tree = ["loss=click", "loss.threshold=1.0", "model.embedding_dim=2", "trainer.epochs=2"]
    launch.run(compose(*read, *tree, "data.position_column=position"), tmp_path / "run")
    params = load_params(tmp_path / "run" / "model")["params"]
    assert params[RANKS].shape == (SHOWN,)
    assert np.any(params[RANKS])
    run = load(tmp_path / "run")
    alone = {"params": jax.tree.map(jnp.asarray, {name: leaf for name, leaf in params.items() if name != RANKS})}
    expected = np.asarray(run.model.apply(alone, Query(jnp.zeros(1, jnp.int32)), jnp.arange(ITEMS)[None]))[0]
    np.testing.assert_allclose(run.score([run.user_ids[0]] * ITEMS, run.item_ids), expected, rtol=1e-5, atol=1e-6)
    best = run.recommend([run.user_ids[0]], k=3, exclude_seen=False)
    assert best.item_id.tolist() == run.item_ids[np.argsort(-expected)[:3]].tolist()


def test_losses_without_rank_bias_refuse_positions(log, compose, tmp_path):
    log[0][:600].to_csv(tmp_path / "log.csv", index=False)
    read = files(tmp_path / "log.csv", value_column="click", position_column="position", duplicates="keep")
    np.testing.assert_array_equal(read.position, log[0].position[:600])
    np.testing.assert_array_equal(read.take(np.arange(3)).joined(read).position[:6], [1, 2, 3, 1, 2, 3])
    settings = ["data=files", f"data.path={tmp_path / 'log.csv'}", "data.position_column=position", "loss=bpr"]
    with pytest.raises(InputError, match="only used by loss=click and loss=mse"):
        launch.run(compose(*settings), tmp_path / "run")
    broken = tmp_path / "broken.csv"
    log[0][:9].assign(position=0).to_csv(broken, index=False)
    with pytest.raises(InputError, match=r"line 2 of .* has the position '0'"):
        files(broken, value_column="click", position_column="position")
