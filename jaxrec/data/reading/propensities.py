"""Position bias in logs of what was shown and clicked: how likely each position is looked at, and weights that undo it.

The position-based model: P(click) = p_k r, the propensity of position k times the relevance of what stands there. Logs
in which the same pair of user and item was shown at several positions, as several rankers or their noise leave them,
tell p without knowing r, and without an experiment: over the pairs that were shown both at k and at k', clicks per
showing sum to p_k R and p_k' R with the same R, so that their ratio is p_k / p_k'.
[Agarwal, Zaitsev, Wang, Li, Najork and Joachims 2019, Estimating position bias without intrusive interventions]
"""

import numpy as np
import pandas as pd
import pyarrow as pa

from jaxrec.data.reading.times import Where
from jaxrec.errors import InputError

LARGEST = 20.0  # weight of a click; rarer positions than 1 in 20 would make training a matter of a few rows


def propensities(pair: np.ndarray, position: np.ndarray, click: np.ndarray) -> pd.Series:
    """How likely each position is looked at, against the first: by position, 1 at the smallest.

    pair:     whose relevance is one number, such as a user and an item, as codes [N]; one row a showing
    position: [N], rank from 1
    click:    [N], 0 or 1

    Every two positions whose common pairs were clicked at both give log p_k - log p_k', with about n n' / (n + n') for
    precision, n and n' being the clicks; least squares fit all of them at once. Raises InputError where a position has
    no such pairs that lead to the first one.
    """
    log = pd.DataFrame({"pair": pair, "position": position, "click": click})
    shown = log.groupby(["pair", "position"], sort=True)["click"].agg(["sum", "count"]).reset_index()
    shown["rate"] = shown["sum"] / shown["count"]
    several = shown[shown.groupby("pair")["pair"].transform("size") > 1]
    both = several.merge(several, on="pair", suffixes=("", "_other"))
    both = both[both["position"] < both["position_other"]]
    columns = ["sum", "sum_other", "rate", "rate_other"]
    sums = both.groupby(["position", "position_other"])[columns].sum().reset_index()
    sums = sums[(sums["sum"] > 0) & (sums["sum_other"] > 0)]
    return pd.Series(_fitted(np.unique(position), sums), index=pd.Index(np.unique(position), name="position"))


def _fitted(positions: np.ndarray, sums: pd.DataFrame) -> np.ndarray:
    """exp of the least-squares x of x_k - x_k' = log(rate / rate'), with x = 0 at the first position."""
    one, other = (np.searchsorted(positions, sums[name]) for name in ("position", "position_other"))
    weight = (sums["sum"] * sums["sum_other"] / (sums["sum"] + sums["sum_other"])).to_numpy()
    ratio = np.log(sums["rate"].to_numpy() / sums["rate_other"].to_numpy())
    n = len(positions)
    laplacian, right = np.zeros((n, n)), np.zeros(n)
    for a, b, sign in ((one, other, 1.0), (other, one, -1.0)):
        np.add.at(laplacian, (a, a), weight)
        np.add.at(laplacian, (a, b), -weight)
        np.add.at(right, a, sign * weight * ratio)
    if (alone := np.flatnonzero(~_linked(laplacian != 0))).size:
        raise InputError(
            f"data.position_column: what is looked at at position {positions[alone[0]]} cannot be told "
            f"({alone.size} of {n} positions): no pair of user and item was shown and clicked both there and at "
            f"positions that lead to position {positions[0]}; leave these positions out, or the column"
        )
    x = np.zeros(n)
    x[1:] = np.linalg.solve(laplacian[1:, 1:], right[1:]) if n > 1 else 0.0
    return np.exp(x)


def _linked(edges: np.ndarray) -> np.ndarray:
    """Which nodes a walk from the first reaches."""
    reached = np.arange(len(edges)) == 0
    while (more := reached | edges[reached].any(axis=0)).sum() > reached.sum():
        reached = more
    return reached


def ranks(column: pa.ChunkedArray, where: Where) -> np.ndarray:
    """A column of positions as whole numbers from 1. Raises InputError, naming the row, for what is none."""
    numbers = pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~(numbers >= 1) | (numbers != np.floor(numbers)))
    if len(wrong):
        said = column[int(wrong[0])].as_py()
        raise InputError(
            f"data.position_column: {where(int(wrong[0]))} has the position {said!r} ({len(wrong):,} such rows): "
            "positions are ranks from 1"
        )
    return numbers.astype(np.int64)


def inverse(frame: pd.DataFrame, position: np.ndarray, click: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Weights of rows, 1 / propensity of their position, at most `LARGEST`; and how many clicks had a larger one.

    A click weighed so counts in the mean as if everything had been looked at.   [Joachims, Swaminathan, Schnabel 2017]

    frame: columns user_id and item_id of the log's rows
    """
    pair = frame.groupby(["user_id", "item_id"], observed=True, sort=False).ngroup().to_numpy()
    found = propensities(pair, position, click)
    weight = 1 / found.reindex(position).to_numpy()
    cut = int(((weight > LARGEST) & (click > 0)).sum())
    notes = {f"clicks at positions rarely looked at, their weight cut to {LARGEST:g}": cut} if cut else {}
    return np.minimum(weight, LARGEST).astype(np.float32), notes
