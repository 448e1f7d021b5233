"""Features in a checkpoint are restored, and encode other rows as before."""

import numpy as np
import pytest

from jaxrec.checkpoint import load_extra, save_params
from jaxrec.data.features import Encoded
from jaxrec.data.stored_features import features_to_store, restore_features
from tests.models.synthetic_features import ITEMS, OF_ITEMS, OF_USERS

ARRAYS = ("categories", "bags", "numbers")


@pytest.mark.parametrize("of_users", [OF_USERS, None], ids=["both", "items alone"])
def test_a_checkpoint_restores_arrays_vocabularies_and_scales(tmp_path, of_users):
    save_params(tmp_path, {"w": np.zeros(1)}, extra=features_to_store(Encoded.holding(of_users, OF_ITEMS)))
    found = restore_features(load_extra(tmp_path))
    assert (found.of_users is None) == (of_users is None)
    assert found.of_items.sizes == OF_ITEMS.sizes
    later = ITEMS.assign(brand=["z", "never seen", "x", None, "y", "y"], price=[7.0, None, 1.0, 2.0, 3.0, 1e9])
    again, before = (part.schema.encode(later) for part in (found.of_items, OF_ITEMS))
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found.of_items, name), getattr(OF_ITEMS, name))
        np.testing.assert_array_equal(getattr(again, name), getattr(before, name))
    assert found.of_items.schema.number_names == OF_ITEMS.schema.number_names


def test_a_checkpoint_without_features_has_none():
    assert features_to_store(Encoded.holding(None, None)) == {}
    found = restore_features({})
    assert found.of_users is None
    assert found.of_items is None
