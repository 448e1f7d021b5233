"""Arrays stored beside the parameters of a run are consistent, or the run is refused."""

import numpy as np
import pytest

from jaxrec.checkpoint import load_extra
from jaxrec.recommend.consistency import check_consistent
from tests.paths import ROOT

STORED = ROOT / "tests" / "fixtures" / "format-2" / "ease" / "model"  # of 40 users, 20 items


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("user_ids", None, "user_ids are not distinct ids"),
        ("item_ids", np.zeros(20, int), "item_ids are not distinct ids"),
        ("known_items", np.full(445, 20), "known_items are not positions of items"),
        ("known_items", np.full(445, -1), "known_items are not positions of items"),
        ("known_offsets", np.arange(41) * 11, "known_offsets are not those of the users"),
        ("known_offsets", np.r_[0, 440, np.full(38, 400), 445], "known_offsets are not those of the users"),
        ("known_target", np.ones(3, bool), "known_target does not have 445 entries"),
        ("ages", np.zeros((20, 2)), "ages does not have 20 entries"),
        ("trained_users", np.ones(20, bool), "trained_users does not have 40 entries"),
        ("trained_popular", np.array(["x"] * 20), "trained_popular are not numbers"),
        ("categories_codes", np.full(20, 3), "categories_codes are not positions of categories"),
        ("categories_offsets", np.zeros(21, int), "categories_offsets are not those of the items"),
        ("features_items_numbers", np.zeros((19, 1)), "features_items_numbers does not have 20 entries"),
    ],
)
def test_inconsistent_arrays_are_refused(name, value, reason):
    extra = load_extra(STORED)
    check_consistent(extra)
    assert len(extra["known_items"]) == 445
    with pytest.raises(ValueError, match=f"^{reason}$"):
        check_consistent(extra | {name: value})
