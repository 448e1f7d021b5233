"""Feature rows on the device against those of the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxrec.data.features import features
from jaxrec.features import FeatureTable, table

FRAME = pd.DataFrame({"brand": [*"abab"], "tags": [["x"], [], ["y", "x"], None], "price": [1.0, 2.0, None, 4.0]})
gather = jax.jit(FeatureTable.rows)


@pytest.mark.parametrize("ids", [[2, 0, 3], [[1, 2, -1], [3, -1, -1]]])
def test_rows_of_ids_of_any_shape_and_padding_is_unknown(ids):
    host = features(FRAME)
    found = gather(table(host), jnp.array(ids))
    for got, source in zip(found, (host.categories, host.bags, host.numbers), strict=True):
        with_nothing = np.concatenate([source, np.zeros_like(source[:1])])  # of id -1
        assert got.dtype == source.dtype
        np.testing.assert_array_equal(got, with_nothing[np.array(ids)])


def test_tables_without_columns_have_empty_rows():
    found = gather(table(features(pd.DataFrame(index=range(2)))), jnp.array([0, 1, 1]))
    assert [part.shape for part in found] == [(3, 0), (3, 0, 0), (3, 0)]
