"""GMF against numpy, and columns beyond the width in use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models.gmf import GMF
from jaxrec.query import Query
from tests.models.weights import assert_scores, drawn

USERS = Query(jnp.array([2, 0], jnp.int32))
ITEMS = np.array([[4, 0, 1], [3, 3, 2]])


def test_scores_are_weighted_products():
    model = GMF(3, 5, 4)
    params = drawn(model, USERS)
    w = params["params"]
    p, q, h = w["user_embedding"]["table"][[2, 0]], w["item_embedding"]["table"], w["output"]["table"][0]
    expected = np.array([[sum(h * p[b] * q[i]) + w["bias"][0] for i in range(5)] for b in range(2)])
    assert_scores(model, params, USERS, expected)


@pytest.mark.slow
def test_a_member_of_smaller_width_starts_as_alone_and_its_padding_gets_no_gradient():
    items = jnp.asarray(ITEMS, jnp.int32)
    padded, alone = GMF(3, 5, 4, width=2), GMF(3, 5, 2)
    one, other = (model.init(jax.random.key(1), USERS, items)["params"] for model in (padded, alone))
    gradient = jax.grad(lambda p: padded.apply({"params": p}, USERS, items).sum())(one)
    for table in ("user_embedding", "item_embedding", "output"):
        np.testing.assert_array_equal(one[table]["table"][:, :2], other[table]["table"])
        np.testing.assert_array_equal(gradient[table]["table"][:, 2:], 0)
        assert np.any(gradient[table]["table"][:, :2])
