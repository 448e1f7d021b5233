"""Feature embeddings by hand, with unknown values."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxrec.features import table
from jaxrec.models.feature_embedding import MAX_DEVIATIONS, FeatureEmbedding
from tests.models.synthetic_features import ITEMS, OF_ITEMS, vectors
from tests.slow import some_slow

MODEL = FeatureEmbedding(OF_ITEMS.sizes, 3)
PARAMS = jax.tree.map(np.asarray, MODEL.init(jax.random.key(0), table(OF_ITEMS), method="flat"))


def flat(rows) -> np.ndarray:
    return np.asarray(jax.jit(lambda params, rows: MODEL.apply(params, rows, method="flat"))(PARAMS, rows))


def test_a_row_has_its_vectors_then_its_numbers():
    found = flat(table(OF_ITEMS))
    for row in range(6):
        by_hand = np.concatenate([vectors(PARAMS["params"], OF_ITEMS, row).ravel(), OF_ITEMS.numbers[row]])
        np.testing.assert_allclose(found[row], by_hand, rtol=1e-6)


@pytest.mark.parametrize("ids", some_slow([[3, 0], [[3, 0, -1], [1, -1, 2]]], [3, 0]))
def test_ids_of_any_shape(ids):
    whole = flat(table(OF_ITEMS))
    found = flat(table(OF_ITEMS).rows(jnp.array(ids)))
    known = np.array(ids) >= 0
    np.testing.assert_allclose(found[known], whole[np.array(ids)[known]], rtol=1e-6)


def test_a_new_category_is_unknown():
    """It is treated as missing, as are new values of a bag, which have no effect beside known ones."""
    later = ITEMS.iloc[[0, 0, 2]].assign(
        brand=["never seen", None, "x"], tags=[["a", "never seen"], ["a"], ["never seen"]]
    )
    found = flat(table(OF_ITEMS.schema.encode(later)))
    np.testing.assert_array_equal(found[0], found[1])
    tables = PARAMS["params"]
    np.testing.assert_allclose(found[0, :3], tables["categories_0"]["table"][0])
    np.testing.assert_allclose(found[2, 3:6], tables["bags_0"]["table"][0])


def test_numbers_far_outside_the_fitted_range_stay_finite():
    later = pd.concat([ITEMS.iloc[:1].assign(price=1e300), ITEMS.iloc[:1].assign(price=-1e300)])
    np.testing.assert_array_equal(flat(table(OF_ITEMS.schema.encode(later)))[:, 6], [MAX_DEVIATIONS, -MAX_DEVIATIONS])
