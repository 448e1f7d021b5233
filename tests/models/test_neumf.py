"""NeuMF against numpy, and started from a GMF and an MLP."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.checkpoint import save_params
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.objective import SampledObjective
from jaxrec.fitting.optimizers import sgd
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.losses import bce
from jaxrec.models.gmf import GMF
from jaxrec.models.mlp import MLP
from jaxrec.models.neumf import NeuMF
from jaxrec.negatives.uniform import Uniform
from jaxrec.query import Query
from tests.models.weights import assert_scores, call, drawn, tower
from tests.slow import some_slow

USERS = Query(jnp.array([2, 0], jnp.int32))
TRAIN = Interactions(
    np.array([0, 1, 2, 2], np.int32), np.array([4, 1, 0, 3], np.int32), None, None, None, np.arange(3), np.arange(5)
)


@pytest.mark.parametrize("shared", some_slow([False, True], True))
def test_scores_are_an_output_layer_over_both_parts(shared):
    model = NeuMF(3, 5, 4, None if shared else 2, (6, 3), shared=shared)
    params = drawn(model, USERS)
    w = params["params"]
    assert ("mlp_user" in w) != shared
    p, q = w["gmf_user"]["table"], w["gmf_item"]["table"]
    p_mlp, q_mlp = (p, q) if shared else (w["mlp_user"]["table"], w["mlp_item"]["table"])
    expected = np.array(
        [
            [
                w["output"]["table"][0] @ (p[u] * q[i]) + tower(w["tower"], p_mlp[u], q_mlp[i]) + w["bias"][0]
                for i in range(5)
            ]
            for u in (2, 0)
        ]
    )
    assert_scores(model, params, USERS, expected)


def test_shared_vectors_have_one_width():
    with pytest.raises(InputError, match=r"model\.shared=true needs equal embedding dimensions"):
        drawn(NeuMF(3, 5, 4, 2, shared=True), USERS)


def test_the_penalty_counts_every_vector_once():
    for model in (NeuMF(3, 5, 4, 2, regularization=0.5), NeuMF(3, 5, 4, shared=True, regularization=0.5)):
        params = drawn(model, USERS)
        of_user, of_item = call(model, params, "penalty", USERS)
        tables = {name: w["table"] for name, w in params["params"].items() if name[:3] in ("gmf", "mlp")}
        squares = {name: 0.5 * (table**2).sum(axis=1) for name, table in tables.items()}
        np.testing.assert_allclose(of_user, sum(x[[2, 0]] for n, x in squares.items() if "user" in n), rtol=1e-5)
        np.testing.assert_allclose(of_item, sum(x for n, x in squares.items() if "item" in n), rtol=1e-5)


def run_of(model, directory: Path, seed: int, train: Interactions = TRAIN) -> dict:
    """Write a run directory of this model with random parameters, and return them."""
    params = drawn(model, USERS, seed)
    extra = {"model": type(model).__name__.lower(), "user_ids": train.user_ids, "item_ids": train.item_ids}
    save_params(directory / "model", params, extra=extra)
    return params


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict:
    tmp_path = tmp_path_factory.mktemp("runs")
    gmf, mlp = GMF(3, 5, 4), MLP(3, 5, 2, (6, 3))
    given = {"gmf": (gmf, run_of(gmf, tmp_path / "gmf", 1)), "mlp": (mlp, run_of(mlp, tmp_path / "mlp", 2))}
    return {**given, "fields": {"gmf_run": str(tmp_path / "gmf"), "mlp_run": str(tmp_path / "mlp")}}


def started(model: NeuMF):
    """Return the initial parameters of a population of two, which a learning rate of zero does not change."""
    hyper = Hyper({"optimizer.learning_rate": np.zeros(2, np.float32)})
    fit = GradientFit(SampledObjective(bce, Uniform(1)), sgd, epochs=1, batch_size=4)
    return fit(model, TRAIN, Population(np.array([0, 7]), hyper)).params


def pretrained(model: NeuMF, **own: np.ndarray) -> dict:
    """Return the parameters of a population of two after loading, including parameters of the loss."""
    fresh = jax.tree.map(lambda x: np.stack([x, x]), drawn(model, USERS))
    return model.pretrained({"params": fresh["params"] | own}, TRAIN)["params"]


def pretrained_by(model: NeuMF) -> dict:
    return {"params": pretrained(model)}


@pytest.mark.parametrize("begin", some_slow([pretrained_by, started], started))
def test_it_starts_as_the_weighted_sum_of_a_gmf_and_an_mlp(runs, begin):
    """With a learning rate of zero, parameters stay the initial ones."""
    params = begin(NeuMF(3, 5, 4, 2, (6, 3), alpha=0.3, **runs["fields"]))
    parts = [call(model, p, "score_catalog", USERS) for model, p in (runs["gmf"], runs["mlp"])]
    for member in range(2):
        own = jax.tree.map(lambda x: x[member], params)  # noqa: B023
        scores = call(NeuMF(3, 5, 4, 2, (6, 3)), own, "score_catalog", USERS)
        np.testing.assert_allclose(scores, 0.3 * parts[0] + 0.7 * parts[1], rtol=1e-4, atol=1e-5)


def test_parameters_of_the_loss_are_not_replaced(runs):
    model = NeuMF(3, 5, 4, 2, (6, 3), **runs["fields"])
    own = {"rank_bias": np.array([[1.0, 2.0], [3.0, 4.0]])}
    found = pretrained(model, **own)
    np.testing.assert_array_equal(found["rank_bias"], own["rank_bias"])
    assert found.keys() == drawn(model, USERS)["params"].keys() | own.keys()


@pytest.mark.slow
def test_without_runs_initial_parameters_depend_on_seeds():
    table = started(NeuMF(3, 5, 4, 2, (6, 3)))["params"]["gmf_user"]["table"]
    assert not (table[0] == table[1]).any()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda f: NeuMF(3, 5, 4, 2, (6, 3), gmf_run=f["gmf_run"]), "needs both model.gmf_run and model.mlp_run"),
        (lambda f: NeuMF(3, 5, 4, shared=True, **f), "model.shared=false"),
        (lambda f: NeuMF(3, 5, 8, 2, (6, 3), **f), r"gmf_\w+\.table has shape \(\d, 4\) in the runs, \(\d, 8\)"),
        (lambda f: NeuMF(3, 5, 4, 2, (6,), **f), r"tower\."),
        (
            lambda f: NeuMF(3, 5, 4, 2, (6, 3), gmf_run=f["mlp_run"], mlp_run=f["mlp_run"]),
            "name a run of model=gmf",
        ),
        (lambda f: NeuMF(3, 5, 4, 2, (6, 3), gmf_run="nowhere", mlp_run=f["mlp_run"]), "There is no file nowhere"),
    ],
)
def test_runs_that_do_not_fit_are_refused(runs, model, message):
    with pytest.raises(InputError, match=message):
        pretrained(model(runs["fields"]))


def test_runs_on_other_data_are_refused(runs, tmp_path):
    other = Interactions(TRAIN.user, TRAIN.item, None, None, None, np.arange(3), np.arange(5) + 1)
    run_of(GMF(3, 5, 4), tmp_path / "other", 1, other)
    with pytest.raises(InputError, match="other users or items"):
        pretrained(NeuMF(3, 5, 4, 2, (6, 3), gmf_run=str(tmp_path / "other"), mlp_run=runs["fields"]["mlp_run"]))
