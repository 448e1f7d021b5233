"""SLIM against scikit-learn's elastic net with positive coefficients, one item at a time."""

import numpy as np
from sklearn.linear_model import ElasticNet

from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.models import slim
from jaxrec.models.slim import SLIM
from tests.models.neighbors import ITEMS, USERS, train

L1, L2 = (0.3, 1.5), (0.5, 4.0)


def test_every_member_solves_the_elastic_net_of_every_item(monkeypatch):
    monkeypatch.setattr(slim, "ROWS", 4)  # nine items: three blocks, the last one padded
    data, x = train()
    numbers = {"model.l1": np.array(L1, np.float32), "model.l2": np.array(L2, np.float32)}
    model = SLIM(ITEMS, 9, tolerance=1e-7, max_sweeps=500)
    weights = np.asarray(
        ClosedForm()(model, data, Population(np.arange(2), Hyper(numbers))).params["params"]["weights"]
    )
    for member, (l1, l2) in enumerate(zip(L1, L2, strict=True)):
        np.testing.assert_array_equal(np.diag(weights[member]), 0)
        assert 0.2 < (weights[member] == 0).mean() < 0.9
        net = ElasticNet(
            alpha=(l1 + l2) / USERS, l1_ratio=l1 / (l1 + l2), positive=True, fit_intercept=False, tol=1e-10,
            max_iter=100_000,
        )  # fmt: skip
        for item in range(ITEMS):
            others = np.delete(np.arange(ITEMS), item)
            expected = net.fit(x[:, others], x[:, item]).coef_
            np.testing.assert_allclose(weights[member][others, item], expected, atol=2e-5)


def test_the_number_of_sweeps_is_limited():
    """After one sweep from zero, the first row is the solution of its own coordinate."""
    data, x = train()
    model = SLIM(ITEMS, 9, 0.5, 2.0, max_sweeps=1)
    (weights,) = ClosedForm()(model, data, Population(np.arange(1), Hyper())).params["params"]["weights"]
    gram = x.T @ x
    expected = np.maximum(0, gram[0] - 0.5) / (gram[0, 0] + 2.0)
    np.testing.assert_allclose(weights[0, 1:], expected[1:], rtol=1e-5)
