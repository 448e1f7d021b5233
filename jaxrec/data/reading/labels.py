"""Rows that say what was not chosen: label 0 beside label 1, as `jaxrec mine` writes them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from jaxrec.data.ids import IdTable
from jaxrec.data.interactions import Interactions
from jaxrec.data.notes import occurred
from jaxrec.data.reading.times import Where
from jaxrec.errors import InputError

UNKNOWN = "rows of label 0 whose user or item has no row of label 1, dropped"
CHOSEN = "rows of label 0 whose pair has a row of label 1 as well, dropped"


def chosen(column: pa.ChunkedArray, where: Where, n_rows: int) -> np.ndarray:
    """Mask [n_rows] of the rows of label 1; rows behind the labeled file's last are chosen, too."""
    numbers = pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero((numbers != 0) & (numbers != 1))
    if len(wrong):
        said = column[int(wrong[0])].as_py()
        raise InputError(
            f"data.label_column: {where(int(wrong[0]))} has the label {said!r} ({len(wrong):,} such rows): labels are "
            "1 for what was chosen and 0 for negatives"
        )
    if not numbers.any():
        raise InputError("data.label_column: every label is 0; name a column that is 1 for what was chosen")
    mask = np.ones(n_rows, bool)
    mask[: len(numbers)] = numbers == 1
    return mask


def with_negatives(interactions: Interactions, frame: pd.DataFrame) -> Interactions:
    """The data with the rows of a frame (user_id, item_id) as its negatives; counts those that cannot be any."""
    user = IdTable(interactions.user_ids).rows_of(frame["user_id"])
    item = IdTable(interactions.item_ids).rows_of(frame["item_id"])
    known = (user >= 0) & (item >= 0)
    pairs = user[known].astype(np.int64) * interactions.n_items + item[known]
    own = interactions.user.astype(np.int64) * interactions.n_items + interactions.item
    # Of part 0 alone where the data comes split: what is held out must not be told apart from other negatives.
    own = own if interactions.part is None else own[interactions.part == 0]
    contradicted = np.isin(pairs, own)
    pairs = np.unique(pairs[~contradicted])
    dropped = {UNKNOWN: int((~known).sum()), CHOSEN: int(contradicted.sum())}
    notes = {**interactions.notes, **occurred(dropped)}
    users, items = (x.astype(np.int32) for x in np.divmod(pairs, interactions.n_items))
    return replace(interactions, negatives=(users, items), notes=notes)
