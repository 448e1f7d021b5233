"""Shapes of a model's parameters, without allocating them."""

import jax
import jax.numpy as jnp

from jaxrec.history import History
from jaxrec.models.model import Model
from jaxrec.query import Query


def parameter_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by its path."""
    length = model.history_length
    query = Query(jnp.zeros(1, jnp.int32), History(jnp.full((1, length), -1, jnp.int32)) if length else None)
    params = jax.eval_shape(model.init, jax.random.key(0), query, jnp.zeros((1, 1), jnp.int32))
    return {jax.tree_util.keystr(at): leaf.shape for at, leaf in jax.tree_util.tree_leaves_with_path(params)}
