"""Labeled rows: positives with label 1 and explicit negatives with label 0, as `jaxrec mine` writes them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from jaxrec.data.ids import IdTable
from jaxrec.data.interactions import Interactions
from jaxrec.data.notes import nonzero
from jaxrec.data.reading.times import Where
from jaxrec.errors import InputError

UNKNOWN_PAIR = "rows of label 0 whose user or item has no row of label 1, dropped"
CONTRADICTED = "rows of label 0 whose pair has a row of label 1 as well, dropped"


def positive_rows(column: pa.ChunkedArray, where: Where, n_rows: int) -> np.ndarray:
    """Return the mask [n_rows] of positive rows: those with label 1 and those after the labeled file's last row."""
    numbers = pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero((numbers != 0) & (numbers != 1))
    if len(wrong):
        label = column[int(wrong[0])].as_py()
        raise InputError(
            f"data.label_column: {where(int(wrong[0]))} has the label {label!r} ({len(wrong):,} such rows): labels "
            "are 1 for positives and 0 for negatives"
        )
    if not numbers.any():
        raise InputError("data.label_column: all labels are 0; name a column that is 1 for positives")
    mask = np.ones(n_rows, bool)
    mask[: len(numbers)] = numbers == 1
    return mask


def with_negatives(interactions: Interactions, frame: pd.DataFrame) -> Interactions:
    """Add the pairs of a frame (user_id, item_id) as explicit negatives; invalid pairs are dropped and counted."""
    user = IdTable(interactions.user_ids).rows_of(frame["user_id"])
    item = IdTable(interactions.item_ids).rows_of(frame["item_id"])
    known = (user >= 0) & (item >= 0)
    pairs = user[known].astype(np.int64) * interactions.n_items + item[known]
    positives = interactions.user.astype(np.int64) * interactions.n_items + interactions.item
    # Only train pairs if the data is already split: excluding held-out pairs from the negatives would leak them.
    positives = positives if interactions.part is None else positives[interactions.part == 0]
    contradicted = np.isin(pairs, positives)
    pairs = np.unique(pairs[~contradicted])
    dropped = {UNKNOWN_PAIR: int((~known).sum()), CONTRADICTED: int(contradicted.sum())}
    notes = {**interactions.notes, **nonzero(dropped)}
    users, items = (x.astype(np.int32) for x in np.divmod(pairs, interactions.n_items))
    return replace(interactions, negatives=(users, items), notes=notes)
