"""How old items are: as old as their first row in the data."""

import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.data.reading.times import DAY


def ages(interactions: Interactions) -> np.ndarray | None:
    """Days [I] from each item's first row to the newest row of all, NaN for an item without a row.

    None where the data has no times.
    """
    if interactions.time is None or not len(interactions):
        return None
    newest = interactions.time.max()
    first = np.full(interactions.n_items, newest + 1)
    np.minimum.at(first, interactions.item, interactions.time)
    return np.where(first > newest, np.nan, (newest - first) / DAY).astype(np.float32)
