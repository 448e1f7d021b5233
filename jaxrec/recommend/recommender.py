"""Trained run, loaded for inference: recommendations for users and histories, and scores of user-item pairs."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Array
from pydantic import TypeAdapter

from jaxrec import checkpoint, memory
from jaxrec.arguments import check_value
from jaxrec.data.ids import IdTable, canonical, joined, written_as
from jaxrec.data.stored_features import restore_features
from jaxrec.errors import InputError, first_line
from jaxrec.finished import finished_run
from jaxrec.models.model import Model, Params
from jaxrec.recommend import stored_model
from jaxrec.recommend.consistency import check_consistent
from jaxrec.recommend.history_columns import described, flat
from jaxrec.recommend.position_recommender import PositionRecommender
from jaxrec.user_paths import expanded

Ids = Sequence[object] | np.ndarray | pd.Series
Unknown = Literal["error", "popularity"]
_INT, _BOOL, _UNKNOWN = TypeAdapter(int), TypeAdapter(bool), TypeAdapter(Unknown)


def load(run_dir: str | Path, model: type[Model] | None = None) -> "Recommender":
    """Load the model of a run directory. Nothing named in the directory is imported or executed.

    Args:
        run_dir: a run directory, or that of a search or of several seeds, see `jaxrec.finished.finished_run`.
        model: the class of a model that is not part of jaxrec; its name must match the stored one.

    Raises:
        InputError: the directory has no readable model, names an unknown model, or was written by another version of
            jaxrec.
    """
    return Recommender.of_run(run_dir, model)


class Recommender(PositionRecommender):
    """Recommends by original ids, in any form that `jaxrec.data.ids` reads; a missing id counts as unknown.

    Its attributes, and methods that take positions in its id tables, are those of `PositionRecommender`.
    """

    def __init__(self, model: Model, params: Params, extra: checkpoint.Extra) -> None:
        super().__init__(model, params, extra)
        self._users, self._items = IdTable(self.user_ids), IdTable(self.item_ids)

    @classmethod
    def of_run(cls, run_dir: str | Path, model: type[Model] | None = None) -> Self:
        """Load the model of a run directory, see `load`."""
        directory = finished_run(expanded(run_dir)) / "model"
        file, (params, extra) = checkpoint.model_file(directory), checkpoint.load(directory)
        params = jax.tree.map(_on_device, params)
        try:
            own = stored_model.restore_model(file, extra, params, model, restore_features(extra))
            check_consistent(extra)
            return cls(own, params, extra)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise InputError(
                f"{file} has an unexpected format ({reason}): load it with the jaxrec version that wrote it, "
                "or train the run again"
            ) from error

    def recommend(
        self, user_ids: Ids, k: int = 10, exclude_seen: bool = True, unknown: Unknown = "error"
    ) -> pd.DataFrame:
        """Return the k best items of each user.

        Users of the run that the model cannot score get the most popular items; see `jaxrec.fallback`.

        Args:
            user_ids: ids of users.
            k: list length; a user with fewer items left gets fewer rows.
            exclude_seen: filter items in the user's train and validation data.
            unknown: "error", or "popularity" to return the most popular items for a user that is not in the run, with
                interaction counts as scores.

        Returns:
            Columns user_id, item_id, score, rank (from 1), in the order of `user_ids`; with unknown="popularity" also
            `source`: model or popularity.

        Raises:
            InputError: an unknown user, or k beyond the catalog.
        """
        self._check_options(k, exclude_seen, unknown)
        ids = canonical(user_ids, "user_ids")
        items, scores, by_model = self._ranked(self._positions("user", ids, unknown), k, exclude_seen)
        source = None if unknown == "error" else by_model
        return self._frame("user_id", written_as(ids, self.user_ids), items, scores, source)

    def recommend_histories(
        self,
        histories: Sequence[Ids],
        k: int = 10,
        exclude_seen: bool = True,
        unknown: Unknown = "error",
        *,
        event_types: Sequence[Sequence[str | None]] | None = None,
        times: Sequence[Sequence[object]] | None = None,
        values: Sequence[Sequence[float | None]] | None = None,
    ) -> pd.DataFrame:
        """Return the k best items for new users, each described by a history.

        Args:
            histories: one list of item ids per user, oldest first; the model reads the latest items, as in training.
            k: list length.
            exclude_seen: filter items of the history.
            unknown: "error", or "popularity" to ignore unknown items; a history of only unknown items is empty.
            event_types, times, values: of each item of each history, for a model that reads them; None, or None for an
                item, is unknown. Times are numbers since 1970, dates or text, as in data files.

        Returns:
            Columns history (index in `histories`), item_id, score, rank (from 1) and source: `model`, or `popularity`
            if the history is empty or the model can neither read nor fold in histories (`knows_new_users` is False).

        Raises:
            InputError: an unknown item, or k beyond the catalog.
        """
        self._check_options(k, exclude_seen, unknown)
        lists = _lists(histories)
        lengths = [len(history) for history in lists]
        positions = self._positions("item", joined(lists, "item"), unknown)
        kept = np.concatenate([[0], np.cumsum(positions >= 0)])
        offsets = kept[np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])]
        kept_rows = positions >= 0
        columns = flat(lengths, event_types, times, values, self.event_names)
        own = described(
            offsets, positions[kept_rows], *(None if column is None else column[kept_rows] for column in columns)
        )
        items, scores, source = self.rank_histories(offsets, own.items, k, exclude_seen, own)
        return self._frame("history", np.arange(len(lists)), items, scores, source)

    def positions_of_items(self, item_ids: Ids) -> np.ndarray:
        """Return positions of items in `item_ids`; an unknown item is an InputError."""
        return self._positions("item", item_ids)

    def score(self, user_ids: Ids, item_ids: Ids) -> np.ndarray:
        """Return scores [N] of N user-item pairs; a single user is scored for all items."""
        users, items = self._positions("user", user_ids), self._positions("item", item_ids)
        users = np.broadcast_to(users, items.shape) if len(users) == 1 else users
        if len(users) != len(items):
            raise InputError(f"score needs as many users as items, got {len(users)} and {len(items)}")
        return self.score_at(users, items)

    def _positions(self, kind: Literal["user", "item"], ids: Ids, unknown: Unknown | None = None) -> np.ndarray:
        """Return positions of ids in their table; -1 for unknown ids unless they are an error. None: no choice."""
        table, ids = self._users if kind == "user" else self._items, canonical(ids, kind)
        positions = table.find(ids, kind)
        if unknown != "popularity" and (missing := np.flatnonzero(positions < 0)).size:
            first, of = ids[missing[:1]].tolist()[0], f"{missing.size} of {len(ids)} are missing"
            done = "ignores them" if kind == "item" else "lists the most popular items for them"
            choice = "" if unknown is None else f"; unknown=popularity {done}"
            raise InputError(f"{kind} {first!r} is not in this run's data ({of}){choice}")
        return positions

    def _check_options(self, k: Any, exclude_seen: bool, unknown: Unknown) -> None:
        check_value(_INT, k.item() if isinstance(k, np.integer) else k, "k")
        check_value(_BOOL, exclude_seen, "exclude_seen")
        check_value(_UNKNOWN, unknown, "unknown")
        self._check_k(k)

    def _frame(
        self, key: str, names: np.ndarray, items: np.ndarray, scores: np.ndarray, source: np.ndarray | None
    ) -> pd.DataFrame:
        """Return a frame with one row per recommended item."""
        row, rank = np.nonzero(items >= 0)
        columns = {
            key: names[row],
            "item_id": self.item_ids[items[row, rank]],
            "score": scores[row, rank],
            "rank": rank + 1,
        }
        if source is not None:
            columns["source"] = np.where(source, "model", "popularity").astype(object)[row]
        return pd.DataFrame(columns)


def _lists(histories: Sequence[Ids]) -> list[np.ndarray]:
    """Return the canonical ids of each history."""
    if isinstance(histories, pa.Array | pa.ChunkedArray):
        histories = histories.to_pylist()
    lists = list(histories) if isinstance(histories, Iterable) else [None]
    if not all(isinstance(history, Iterable) and not isinstance(history, str) for history in lists):
        raise InputError("histories must be one list of item ids per user, e.g. [[50, 181], [127]]")
    return [canonical(history, "histories") for history in lists]


def _on_device(view: np.ndarray) -> Array:
    """Copy a memory-mapped array to the device; CPU devices share one copy."""
    aligned = memory.empty(view.shape, view.dtype)
    aligned[...] = view
    return jax.device_put(aligned)
