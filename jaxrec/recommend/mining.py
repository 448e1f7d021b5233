"""Negatives to a file: a run's model ranks the whole catalog for every user, and items of some ranks are written.

Training on such a file (`data=files data.label_column=label negatives=given`) is the second of two steps: a model on
random negatives first, another on what the first one ranks high though it was not chosen.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from jaxrec.checkpoint import write_atomic
from jaxrec.errors import InputError
from jaxrec.recommend.files import type_of
from jaxrec.recommend.recommender import Recommender, load

USERS_AT_A_TIME = 1 << 15  # lists of so many users are in memory at once


def mine(
    run: str | Path,
    out: str | Path,
    ranks: tuple[int, int] = (1, 50),
    per_user: int | None = None,
    history: bool = True,
    seed: int = 0,
) -> dict[str, int]:
    """Writes user_id, item_id, score, rank and label; returns how many rows of each label.

    run:      a run directory
    out:      .parquet, .pq or .csv, whole or not there at all
    ranks:    first and last, from 1, among the items that a user does not have in the run's train and validation data
    per_user: so many of these ranks a user, drawn without replacement; None: all
    history:  also what users have, with label 1 and without a rank; what is mined has label 0

    Raises InputError for a run without a model, ranks beyond the catalog, or a suffix that is none of these.
    """
    path, (first, last) = Path(out), ranks
    if path.suffix not in (".parquet", ".pq", ".csv"):
        raise InputError(f"out={out}: the suffix says how to write, .parquet, .pq or .csv")
    model = load(run)
    n_items = len(model.item_ids)
    if not 1 <= first <= last <= n_items:
        raise InputError(f"ranks={[first, last]}: must be first and last, from 1 to the {n_items:,} items of the run")
    if per_user is not None and not 1 <= per_user <= last - first + 1:
        raise InputError(
            f"per_user={per_user}: must be from 1 to the {last - first + 1} ranks of ranks={[first, last]}"
        )
    counts = {"history": 0, "mined": 0}

    def write(temporary: Path) -> None:
        schema = _schema(model)
        kind: Any = pa.csv.CSVWriter if path.suffix == ".csv" else pa.parquet.ParquetWriter
        with kind(str(temporary), schema) as writer:
            for table in _tables(model, ranks, per_user, history, np.random.default_rng(seed)):
                labels = table["label"].to_numpy()
                counts["history"] += int(labels.sum())
                counts["mined"] += int((labels == 0).sum())
                writer.write_table(table.cast(schema))

    write_atomic(path, write)
    return counts


def _tables(
    model: Recommender, ranks: tuple[int, int], per_user: int | None, history: bool, rng: np.random.Generator
) -> Iterator[pa.Table]:
    """Of a block of users at a time: what they have, then what is mined."""
    first, last = ranks
    for start in range(0, len(model.user_ids), USERS_AT_A_TIME):
        users = np.arange(start, min(start + USERS_AT_A_TIME, len(model.user_ids)))
        if history:
            offsets, items = model.known.masked(users)
            owner = np.repeat(users, np.diff(offsets))
            yield _table(model, owner, items, model.score_at(owner, items), None)
        items, scores = (lists[:, first - 1 :] for lists in model.rank(users, last))
        taken = items >= 0
        if per_user is not None:
            chance = np.where(taken, rng.random(items.shape), 2.0)
            taken &= np.argsort(np.argsort(chance, axis=1), axis=1) < per_user
        row, place = np.nonzero(taken)
        yield _table(model, users[row], items[row, place], scores[row, place], first + place)


def _table(
    model: Recommender, users: np.ndarray, items: np.ndarray, scores: np.ndarray, rank: np.ndarray | None
) -> pa.Table:
    return pa.table(
        {
            "user_id": model.user_ids[users],
            "item_id": model.item_ids[items],
            "score": scores,
            "rank": pa.nulls(len(users), pa.int32()) if rank is None else rank.astype(np.int32),
            "label": np.full(len(users), rank is None, np.int8),
        }
    )


def _schema(model: Recommender) -> pa.Schema:
    user, item = type_of(model.user_ids), type_of(model.item_ids)
    columns = {"user_id": user, "item_id": item, "score": pa.float32(), "rank": pa.int32(), "label": pa.int8()}
    return pa.schema(list(columns.items()))
