"""EDLAE against the expected squared error over all dropout masks, and against EASE of a normalized matrix."""

import itertools

import jax
import numpy as np
import pytest

from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.models.edlae import EDLAE
from tests.models.neighbors import ITEMS, train

NORMALIZED = {"user_normalization": 0.7, "item_normalization": 0.3, "popularity": 0.2}


def minimizer_of_expectation(x: np.ndarray, dropout: float, regularization: float, item: int) -> np.ndarray:
    """Return the b that minimizes E |x_item - (x o mask) b|^2 + regularization |(1 - p) b|^2, summed over all masks."""
    others, keep = np.delete(np.arange(ITEMS), item), 1 - dropout
    left, right = np.zeros((len(others), len(others))), np.zeros(len(others))
    for mask in itertools.product((0, 1), repeat=len(others)):
        chance = keep ** sum(mask) * dropout ** (len(mask) - sum(mask))
        seen = x[:, others] * np.array(mask)
        left += chance * seen.T @ seen
        right += chance * seen.T @ x[:, item]
    return np.linalg.solve(left + regularization * keep**2 * np.eye(len(others)), right)


def normalized(x: np.ndarray, user_normalization: float, item_normalization: float, popularity: float):
    """Return X~ and the factors of inputs and outputs."""
    users, items = x.sum(axis=1), x.sum(axis=0)
    users = users / (users**2).sum() * users.sum()
    items = np.where(items > 0, items / np.exp(np.log(items[items > 0]).mean()), 1)
    scale = items**-item_normalization
    return np.maximum(users, 1e-9)[:, None] ** (-user_normalization / 2) * x * scale, scale[:, None] * items**popularity


@pytest.mark.parametrize("numbers", [{}, NORMALIZED])
def test_the_weights_minimize_the_expected_error_under_dropout(numbers):
    data, x = train()
    hyper = {"model.dropout": [0.25, 0.6], "model.regularization": [2.0, 5.0]}
    hyper |= {f"model.{name}": [value, value] for name, value in numbers.items()}
    population = Population(np.arange(2), Hyper({key: np.array(v, np.float32) for key, v in hyper.items()}))
    weights = np.asarray(ClosedForm()(EDLAE(ITEMS, 9), data, population).params["params"]["weights"])
    of_x, factors = normalized(x, **numbers) if numbers else (x, np.ones((ITEMS, ITEMS)))
    for member, (dropout, regularization) in enumerate(((0.25, 2.0), (0.6, 5.0))):
        np.testing.assert_array_equal(np.diag(weights[member]), 0)
        for item in (0, 5):
            expected = (1 - dropout) * minimizer_of_expectation(of_x, dropout, regularization, item)
            others = np.delete(np.arange(ITEMS), item)
            found = weights[member][others, item] / factors[others, item]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_device_solution_equals_that_of_the_host():
    data, _ = train()
    model = EDLAE(ITEMS, 9, 3.0, 0.4, **NORMALIZED)
    found = jax.jit(model.solve)(model.prepare(data))["weights"]
    np.testing.assert_allclose(found, model.solve_on_host(data, [model])["weights"][0], rtol=1e-4, atol=1e-6)
