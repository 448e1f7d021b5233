"""MLP against numpy, the concatenation written out."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.errors import InputError
from jaxrec.models.mlp import MLP, tower_layers
from jaxrec.query import Query
from tests.models.weights import assert_scores, drawn, tower
from tests.slow import some_slow

USERS = Query(jnp.array([2, 0], jnp.int32))


@pytest.mark.parametrize("layers", some_slow([(6,), (6, 5, 3)], (6,)))
def test_scores_are_those_of_the_concatenation(layers):
    model = MLP(3, 5, 4, layers)
    params = drawn(model, USERS)
    w = params["params"]
    assert len([name for name in w["tower"] if name.startswith("rest_")]) == len(layers) - 1
    p, q = w["user_embedding"]["table"][[2, 0]], w["item_embedding"]["table"]
    expected = np.array([[tower(w["tower"], p[b], q[i]) + w["bias"][0] for i in range(5)] for b in range(2)])
    assert_scores(model, params, USERS, expected)


def test_the_usual_tower_halves_the_concatenation():
    """The paper's: vectors of 16, layers of 32, 16 and 8."""
    assert tower_layers(16, None) == (32, 16, 8)
    assert tower_layers(1, None) == (2, 1, 1)
    assert tower_layers(16, (7,)) == (7,)
    with pytest.raises(InputError, match=r"model\.layers is empty"):
        tower_layers(16, ())
