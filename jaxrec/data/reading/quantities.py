"""Quantity transforms: purchase quantity q → x, used as the value to predict or as a sample weight.

raw:      x = q
log:      x = ln(1 + q), for diminishing returns
per_user: x = q / max q of the user, in (0, 1]: comparable between wholesalers and households; 0 if the maximum is 0
rank:     x = (r - 1/2) / n, in (0, 1): r is the rank of q (from 1, ties averaged) among the n rows of the user

As a value, x replaces q. As a weight, it is x / mean(x): weights have mean 1, so learning rate and regularization do
not depend on the transform; the value remains q.

per_user and rank use all rows of a user, including held-out ones, so the training data reflects their scale (but not
their items).
"""

from typing import Literal

import numpy as np
import pandas as pd

from jaxrec.errors import InputError

Quantity = Literal["raw", "log", "per_user", "rank"]
QuantityAs = Literal["value", "weight"] | None


def apply_quantity(frame: pd.DataFrame, quantity: Quantity, quantity_as: QuantityAs) -> pd.DataFrame:
    """Transform the quantities of a frame and store them as values or weights.

    Args:
        frame: columns as for `encode`; `value` is the quantity.
        quantity: the transform, see the module docstring.
        quantity_as: value, weight, or None to drop the quantity.

    Raises:
        InputError: quantities are missing, negative (allowed for raw values and ranks), or all 0 as weights.
    """
    if quantity_as is None:
        return frame.drop(columns="value", errors="ignore")
    if (quantity, quantity_as) == ("raw", "value"):
        return frame
    if "value" not in frame:
        raise InputError(f"data.quantity={quantity} needs quantities: name their column in data.value_column")
    q = frame["value"].to_numpy(np.float64)
    if quantity != "rank" and q.min() < 0:
        raise InputError(
            f"data.quantity={quantity}: the smallest quantity is {q.min():g}; data.min_value=0 drops negative ones"
        )
    x = _transformed(q, pd.factorize(frame["user_id"])[0], quantity)
    if quantity_as == "value":
        return frame.assign(value=x.astype(np.float32))
    if not x.any():
        raise InputError("data.quantity_as=weight: all quantities are 0, so all training weights would be 0")
    return frame.assign(weight=(x / x.mean()).astype(np.float32))


def _transformed(q: np.ndarray, user: np.ndarray, quantity: Quantity) -> np.ndarray:
    """Return the transformed quantities x [N] of quantities q [N] of users [N]."""
    if quantity == "raw":
        return q
    if quantity == "log":
        return np.log1p(q)
    by_user = pd.Series(q).groupby(user)
    if quantity == "per_user":
        largest = by_user.transform("max").to_numpy()
        return np.divide(q, largest, out=np.zeros_like(q), where=largest > 0)
    return ((by_user.rank() - 0.5) / by_user.transform("size")).to_numpy()
