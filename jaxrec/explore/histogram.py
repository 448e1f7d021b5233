"""Histograms of positive integers with round, roughly logarithmic bins."""

import numpy as np
import pandas as pd


def histogram(counts: np.ndarray) -> pd.DataFrame:
    """Count integers >= 1 in bins from `low` to `high` (inclusive), of width 1 first and then wider."""
    if not len(counts):
        return pd.DataFrame({"low": [], "high": [], "count": []}, dtype=np.int64)
    most = int(counts.max())
    edges = np.arange(1, 26)
    if most > 24:
        steps = [step * 10**power for power in range(1, 19) for step in (1, 1.5, 2, 3, 5, 7)]
        edges = np.array([1, 2, 3, 4, 5, 7, *steps]).astype(np.int64)
    last = int(np.searchsorted(edges, most, side="right"))
    place = np.searchsorted(edges, counts, side="right") - 1
    high = np.append(edges[1:last] - 1, max(most, edges[last - 1]))
    return pd.DataFrame({"low": edges[:last], "high": high, "count": np.bincount(place, minlength=last)})
