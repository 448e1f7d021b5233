"""Ages of items, in days before the latest interaction."""

from dataclasses import replace

import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.data.item_age import ages

DAY = 86_400_000


def test_the_age_of_an_item_counts_from_its_first_interaction():
    item, time = np.array([0, 1, 0, 2], np.int32), np.array([9, 2, 4, 10]) * DAY
    rows = Interactions(np.zeros(4, np.int32), item, None, time, None, np.arange(1), np.arange(4))
    np.testing.assert_array_equal(ages(rows), [6, 8, 0, np.nan])
    assert ages(rows.take(np.zeros(4, bool))) is None
    assert ages(replace(rows, time=None)) is None
