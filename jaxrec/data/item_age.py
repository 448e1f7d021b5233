"""Item age: time since an item's first interaction."""

import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.data.reading.times import DAY


def ages(interactions: Interactions) -> np.ndarray | None:
    """Return days [I] from each item's first interaction to the latest interaction in the data.

    NaN for items without interactions; None if the data has no times.
    """
    if interactions.time is None or not len(interactions):
        return None
    newest = interactions.time.max()
    first = np.full(interactions.n_items, newest + 1)
    np.minimum.at(first, interactions.item, interactions.time)
    return np.where(first > newest, np.nan, (newest - first) / DAY).astype(np.float32)
