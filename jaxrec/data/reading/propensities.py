"""Position bias in click logs: estimation of examination propensities, and inverse propensity weights.

The position-based model: P(click) = p_k r, the examination propensity of position k times the relevance of the item
shown there. Logs that show the same user-item pair at several positions, e.g. from several rankers, identify p without
knowing r and without an experiment: over the pairs shown both at k and at k', the click-through rates sum to p_k R and
p_k' R with the same R, so their ratio is p_k / p_k'.
[Agarwal, Zaitsev, Wang, Li, Najork and Joachims 2019, Estimating position bias without intrusive interventions]
"""

import numpy as np
import pandas as pd
import pyarrow as pa

from jaxrec.data.reading.times import Where
from jaxrec.errors import InputError

MAX_POSITION = 10_000  # models have a number for each position
MAX_DISTINCT_POSITIONS = 2_000  # of which propensities are estimated, by a dense linear system
MAX_WEIGHT = 20.0  # upper limit of click weights, so that a few rows do not dominate training


def propensities(pair: np.ndarray, position: np.ndarray, click: np.ndarray) -> pd.Series:
    """Estimate the examination propensity of each position relative to the first.

    Two positions with clicks on common pairs give an estimate of log p_k - log p_k' with precision about
    n n' / (n + n'), n and n' being the numbers of clicks; weighted least squares combines all estimates.

    Args:
        pair: code of the unit of constant relevance, such as a user-item pair, [N]; one row per impression.
        position: rank from 1, [N].
        click: 0 or 1, [N].

    Returns:
        Propensities by position, 1 at the smallest position.

    Raises:
        InputError: a position is not connected to the first by pairs clicked at both.
    """
    if (n := len(np.unique(position))) > MAX_DISTINCT_POSITIONS:
        raise InputError(
            f"data.position_column has {n:,} different positions; propensities are estimated for at most "
            f"{MAX_DISTINCT_POSITIONS:,}: drop rows at later positions"
        )
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
            f"data.position_column: the examination propensity of position {positions[alone[0]]} is not identifiable "
            f"({alone.size} of {n} positions): no user-item pair was shown and clicked both there and at a position "
            f"connected to position {positions[0]}; drop these positions, or set data.position_column=null"
        )
    x = np.zeros(n)
    x[1:] = np.linalg.solve(laplacian[1:, 1:], right[1:]) if n > 1 else 0.0
    return np.exp(x)


def _linked(edges: np.ndarray) -> np.ndarray:
    """Return the mask of nodes connected to the first node."""
    reached = np.arange(len(edges)) == 0
    while (more := reached | edges[reached].any(axis=0)).sum() > reached.sum():
        reached = more
    return reached


def parse_positions(column: pa.ChunkedArray, where: Where) -> np.ndarray:
    """Return a column of positions as integers from 1; raises InputError, naming the row, for invalid positions."""
    numbers = pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~((numbers >= 1) & (numbers <= MAX_POSITION)) | (numbers != np.floor(numbers)))
    if len(wrong):
        value = column[int(wrong[0])].as_py()
        raise InputError(
            f"data.position_column: {where(int(wrong[0]))} has the position {value!r} ({len(wrong):,} such rows): "
            f"positions are ranks from 1 to {MAX_POSITION:,}"
        )
    return numbers.astype(np.int64)


def inverse_propensity_weights(
    frame: pd.DataFrame, position: np.ndarray, click: np.ndarray
) -> tuple[np.ndarray, dict[str, int]]:
    """Return inverse propensity weights of rows, at most `MAX_WEIGHT`, and a note with the number of truncated clicks.

    Weighted clicks are unbiased, as if all positions were examined.   [Joachims, Swaminathan, Schnabel 2017]

    Args:
        frame: columns user_id and item_id of the log.
        position: rank from 1, [N].
        click: 0 or 1, [N].
    """
    pair = frame.groupby(["user_id", "item_id"], observed=True, sort=False).ngroup().to_numpy()
    weight = 1 / propensities(pair, position, click).reindex(position).to_numpy()
    cut = int(((weight > MAX_WEIGHT) & (click > 0)).sum())
    notes = {f"clicks at rarely examined positions, their weight cut to {MAX_WEIGHT:g}": cut} if cut else {}
    return np.minimum(weight, MAX_WEIGHT).astype(np.float32), notes
