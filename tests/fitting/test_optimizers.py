"""Optimizers limit gradients where they are told to."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.fitting.optimizers import adagrad, adam, sgd


def step(optimizer, gradient):
    """The change of a parameter of zeros whose gradient is constant."""
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    cost = lambda p: (p["a"][0] * gradient[0] + p["b"][0] * gradient[1], None)  # noqa: E731
    params, _, _ = optimizer.step(cost, params, optimizer.init(params))
    return np.concatenate([params["a"], params["b"]])


@pytest.mark.parametrize(
    ("gradient", "clip_norm", "expected"),
    [
        ((3.0, 4.0), None, (-3.0, -4.0)),
        ((3.0, 4.0), 1.0, (-0.6, -0.8)),  # of norm 5, over both parameters
        ((0.3, 0.4), 1.0, (-0.3, -0.4)),
    ],
)
def test_gradients_are_scaled_down_to_the_norm(gradient, clip_norm, expected):
    np.testing.assert_allclose(step(sgd(1.0, clip_norm=clip_norm), gradient), expected, rtol=1e-6)


def test_other_optimizers_see_the_limited_gradient():
    """Adagrad with accumulator 1 - .36 or 1 - .64 and a gradient of (.6, .8) steps by the gradient itself."""
    for gradient, start in ((0.6, 0.64), (0.8, 0.36)):
        both = (3.0, 4.0)
        found = step(adagrad(1.0, initial_accumulator=start, clip_norm=1.0), both)
        assert found[(0.6, 0.8).index(gradient)] == pytest.approx(-gradient, rel=1e-5)
    limited = adam(0.1, eps=1.0, clip_norm=1.0)  # the first step of Adam is lr * g / (|g| + eps)
    np.testing.assert_allclose(step(limited, (3.0, 4.0)), (-0.1 * 0.6 / 1.6, -0.1 * 0.8 / 1.8), rtol=1e-5)
