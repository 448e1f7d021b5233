"""Dense vectors, standardized with one scale for all entries; by hand."""

import numpy as np
import pandas as pd
import pytest

from jaxrec.checkpoint import load_extra, save_params
from jaxrec.data.features import Encoded, features
from jaxrec.data.stored_features import features_to_store, restore_features
from jaxrec.errors import InputError

VECTORS = pd.DataFrame({"v": [[0.5, 1.0], [1.5, 5.0], None, [9.0, 9.0]]})


def test_one_scale_for_all_entries_and_the_mean_where_a_vector_is_missing():
    """Fitted on the first three rows: means 1 and 3, deviations .5 and 2, so the scale is sqrt(2.125)."""
    found = features(VECTORS, np.array([0, 1, 2]))
    scale = np.sqrt((0.5**2 + 2**2) / 2)
    expected = [[-0.5, -2, 0], [0.5, 2, 0], [0, 0, scale], [8, 6, 0]]
    np.testing.assert_allclose(found.numbers, np.array(expected) / scale, rtol=1e-6)
    assert found.schema.number_names == ("v[0]", "v[1]", "v is missing")
    assert found.sizes == ((), (), 3)


def test_a_checkpoint_restores_the_scale(tmp_path):
    save_params(tmp_path, {"w": np.zeros(1)}, extra=features_to_store(Encoded.holding(None, features(VECTORS))))
    found = restore_features(load_extra(tmp_path)).of_items
    np.testing.assert_array_equal(found.schema.encode(VECTORS).numbers, features(VECTORS).numbers)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[0.5, 1.0], [1.0]], "'v' has 1 numbers in row 2 and 2 in others: a dense vector needs the same length"),
        ([[0.5, 1.0], [1.0, float("nan")]], "'v' has an entry in row 2 that is not a finite number"),
        ([[0.5, 1.0], [1.0, "a"]], "'v' has an entry in row 2 that is not a finite number"),
    ],
)
def test_errors_name_the_row_of_an_invalid_vector(vectors, message):
    frame = pd.DataFrame({"v": [np.array([0.5, 1.0]), *vectors[1:]]}, dtype=object)
    with pytest.raises(InputError, match=message):
        features(frame)


def test_vectors_that_are_all_the_same_are_left_out():
    assert features(pd.DataFrame({"v": [[0.5, 1.0]] * 2})).schema.left_out == {"v": "one value only"}
