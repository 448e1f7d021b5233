"""Hard-negative mining to a file: rank the full catalog for every user and write the items at given ranks.

Training on such a file (`data=files data.label_column=label negatives=given`) is the second stage of two: the first
model is trained on random negatives, the second on unseen items that the first ranks high.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import NonNegativeInt, PositiveInt

from jaxrec.atomic_files import write_atomic
from jaxrec.blockwise import slices
from jaxrec.errors import InputError
from jaxrec.recommend.files import type_of, writer_of
from jaxrec.recommend.recommender import Recommender, load

USERS_AT_A_TIME = 1 << 15  # users whose lists are in memory at once


def mine(
    run: str | Path,
    out: str | Path,
    ranks: tuple[PositiveInt, PositiveInt] = (1, 50),
    per_user: PositiveInt | None = None,
    history: bool = True,
    seed: NonNegativeInt = 0,
) -> dict[str, int]:
    """Write user_id, item_id, score, rank and label.

    Args:
        run: a run directory.
        out: a .parquet, .pq or .csv file, written atomically.
        ranks: first and last rank, from 1, among items not in the user's train and validation data.
        per_user: number of these ranks to sample per user without replacement; None: all.
        history: also write the users' interactions, with label 1 and without a rank; mined items have label 0.
        seed: seed of the sampling.

    Returns:
        The number of rows by kind: history and mined.

    Raises:
        InputError: a run without a model, ranks beyond the catalog, or an unknown suffix.
    """
    path, (first, last) = Path(out), ranks
    writer_of(path)
    model = load(run)
    n_items = len(model.item_ids)
    if not 1 <= first <= last <= n_items:
        raise InputError(
            f"ranks={[first, last]}: must be the first and last rank, from 1 to {n_items:,} (the catalog size)"
        )
    if per_user is not None and not 1 <= per_user <= last - first + 1:
        raise InputError(
            f"per_user={per_user}: must be from 1 to {last - first + 1}, the number of ranks in ranks={[first, last]}"
        )
    counts = {"history": 0, "mined": 0}

    def write(temporary: Path) -> None:
        schema = _schema(model)
        with writer_of(path)(str(temporary), schema) as writer:
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
    """Yield tables of one block of users at a time: interactions, then mined items."""
    first, last = ranks
    for block in slices(len(model.user_ids), USERS_AT_A_TIME):
        users = np.arange(block.start, block.stop)
        if history:
            offsets, items = model.known.masked(users)
            owner = np.repeat(users, np.diff(offsets))
            yield _table(model, owner, items, model.score_at(owner, items), None)
        items, scores = (lists[:, first - 1 :] for lists in model.rank(users, last))
        selected = items >= 0
        if per_user is not None:
            chance = np.where(selected, rng.random(items.shape), 2.0)
            selected &= np.argsort(np.argsort(chance, axis=1), axis=1) < per_user
        row, place = np.nonzero(selected)
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
