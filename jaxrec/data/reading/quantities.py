"""From how much was bought to what a model takes: x of the quantity q, as the value to predict or as a weight.

raw:      x = q
log:      x = ln(1 + q), so that the hundredth piece says less than the second
per_user: x = q / largest q of the user, in (0, 1]: a wholesaler's 500 is a household's 5. 0 where the largest is 0
rank:     x = (r - 1/2) / n, in (0, 1): r is q's rank (from 1, ties share their mean) among the n rows of the user

As a value x takes the place of q. As a weight it is x / mean of all x, so that weights are 1 in the mean and learning
rate and regularization mean the same whatever the form; the value stays q.

per_user and rank look at all of a user's rows, held-out ones included, so what is trained on knows their scale (not
which items they are).
"""

from typing import Literal

import numpy as np
import pandas as pd

from jaxrec.errors import InputError

Quantity = Literal["raw", "log", "per_user", "rank"]
QuantityAs = Literal["value", "weight"] | None


def weighed(frame: pd.DataFrame, quantity: Quantity, quantity_as: QuantityAs) -> pd.DataFrame:
    """A frame (as for `encode`) whose `value` is a quantity, with it in the form and the column that models take.

    quantity_as: value, weight (see above), or None: the quantity is no longer there
    Raises InputError for negative quantities, which only raw values and ranks can be, and for weights that are all 0.
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
    x = _formed(q, pd.factorize(frame["user_id"])[0], quantity)
    if quantity_as == "value":
        return frame.assign(value=x.astype(np.float32))
    if not x.any():
        raise InputError("data.quantity_as=weight: every quantity is 0, and nothing would be trained on")
    return frame.assign(weight=(x / x.mean()).astype(np.float32))


def _formed(q: np.ndarray, user: np.ndarray, quantity: Quantity) -> np.ndarray:
    """x [N] of the quantities [N] of users [N]."""
    if quantity == "raw":
        return q
    if quantity == "log":
        return np.log1p(q)
    by_user = pd.Series(q).groupby(user)
    if quantity == "per_user":
        largest = by_user.transform("max").to_numpy()
        return np.divide(q, largest, out=np.zeros_like(q), where=largest > 0)
    return ((by_user.rank() - 0.5) / by_user.transform("size")).to_numpy()
