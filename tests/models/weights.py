"""Random parameters, for forward passes by hand."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.query import Query


def drawn(model: nn.Module, query: Query, seed: int = 0) -> dict:
    """Return standard normal values for every parameter of the model, including biases."""
    rng = np.random.default_rng(seed)
    items = jnp.zeros((len(query.user), 1), jnp.int32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), query, items))
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


def call(model: nn.Module, params: dict, method: str, *arguments: Any) -> Any:
    """Call a method of the model with these parameters."""
    return jax.jit(lambda params, *arguments: model.apply(params, *arguments, method=method))(params, *arguments)


def assert_scores(model: nn.Module, params: dict, query: Query, expected: np.ndarray) -> None:
    """Check the scores of the catalog and of candidates, some of them repeated."""
    items = np.random.default_rng(1).integers(0, expected.shape[1], (len(expected), 4)).astype(np.int32)
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(call(model, params, "score_catalog", query), expected, **close)
    np.testing.assert_allclose(
        call(model, params, "__call__", query, jnp.asarray(items)), np.take_along_axis(expected, items, 1), **close
    )


def tower(w: dict, p: np.ndarray, q: np.ndarray) -> float:
    """Return h . a_L(... a_1([p; q])) with the parameters of a tower."""
    x = np.maximum(np.concatenate([p, q]) @ w["first"] + w["first_bias"], 0)
    for layer in sorted(name for name in w if name.startswith("rest_")):
        x = np.maximum(x @ w[layer]["kernel"] + w[layer]["bias"], 0)
    return float(x @ w["output"]["kernel"][:, 0])
