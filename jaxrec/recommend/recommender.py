"""Trained run, loaded for inference: recommendations for users and histories, and scores of user-item pairs."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Self

import jax
import numpy as np
import pandas as pd
from jaxtyping import Array

from jaxrec import checkpoint, memory, programs
from jaxrec.blockwise import in_blocks, slices
from jaxrec.data import item_labels
from jaxrec.data.histories import UserHistories
from jaxrec.data.ids import IdTable, canonical, joined, written_as
from jaxrec.data.splits.assembly import HeldOut
from jaxrec.data.stored_features import restored
from jaxrec.errors import InputError, first_line
from jaxrec.evaluation.evaluation import Evaluation
from jaxrec.evaluation.full_catalog import FullCatalog
from jaxrec.fallback import Fallback, Trained, folding, row_sources, users_with_features
from jaxrec.features import FeatureTables, tables, with_tables
from jaxrec.finished import finished_run
from jaxrec.history import History
from jaxrec.models.model import Factorized, Model, Params
from jaxrec.query import Query
from jaxrec.ranking import QueryRows
from jaxrec.recommend import history_columns, stored_model
from jaxrec.recommend.batch_recommender import NEW, BatchRecommender, CatalogScorer, windows
from jaxrec.recommend.consistency import check_consistent
from jaxrec.recommend.fitted import Fitted
from jaxrec.recommend.history_columns import completed, described, flat
from jaxrec.recommend.pair_scorer import PairScorer

MANY = 256  # rows at a time; larger requests use `Ranker`

Ids = Sequence[object] | np.ndarray | pd.Series
Unknown = Literal["error", "popularity"]


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


class Recommender:
    """Recommends by original ids, in any form that `jaxrec.data.ids` reads; a missing id counts as unknown.

    Attributes:
        user_ids, item_ids: id tables; methods that take positions take positions in these tables.
        known: history of every user in the train and validation data of the run.
        popular: training interactions per item, the scores of the popularity fallback; see `jaxrec.fallback`.
        event_names: event types of the data, for a model that reads them.
        titles, categories: labels of items, see `jaxrec.data.item_labels`; None if the data has none.
        ages: days from each item's first interaction to the latest interaction, NaN for an item without interactions;
            None if the data has no times.
    """

    def __init__(self, model: Model, params: Params, extra: checkpoint.Extra) -> None:
        self.model = model
        self.user_ids, self.item_ids = np.asarray(extra["user_ids"]), np.asarray(extra["item_ids"])
        self._params = jax.device_put(params)
        self._encoded = restored(extra)
        self.titles, self.categories = item_labels.restored(extra)
        self.ages = extra.get("ages")
        columns = {name: extra[f"known_{name}"] for name in UserHistories._fields if name != "time"}
        self.known = UserHistories(**columns, time=extra.get("known_time"))
        self.event_names = tuple(extra.get("event_names", ()))
        self._trained = _trained(extra, self.known, len(self.item_ids))
        self.popular = self._trained.popular
        # One program per history length, independent of the other rows.
        self._longest = _length(int(np.diff(self.known.offsets).max(initial=1)))
        folds = folding(model, self._longest)
        self._fallback = Fallback(self._trained, folds)
        self.fitted = Fitted(model, self._params, self._fallback)
        self._feature_tables = tables(model, self._encoded)
        self._has_features = users_with_features(model, self._encoded)
        self._pairs = PairScorer(model, self._feature_tables, self._params, self.known)
        self._folded_pairs = PairScorer(folds or model, self._feature_tables, self._params, self.known)
        self._users, self._items = IdTable(self.user_ids), IdTable(self.item_ids)
        self._scorers: dict[int, CatalogScorer] = {}
        self._batch_recommenders: dict[tuple[int, int, int], BatchRecommender] = {}

    @classmethod
    def of_run(cls, run_dir: str | Path, model: type[Model] | None = None) -> Self:
        """Load the model of a run directory, see `load`."""
        directory = finished_run(Path(run_dir)) / "model"
        file, (params, extra) = checkpoint.model_file(directory), checkpoint.load(directory)
        params = jax.tree.map(_on_device, params)
        try:
            own = stored_model.restored(file, extra, params, model, restored(extra))
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
        self._check_k(k)
        users = self._positions("user", user_ids, unknown)
        items, scores, by_model = self._ranked(users, k, exclude_seen)
        source = None if unknown == "error" else by_model
        return self._frame("user_id", written_as(canonical(user_ids, "user"), self.user_ids), items, scores, source)

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
        self._check_k(k)
        if any(isinstance(history, str) for history in histories):
            raise InputError("histories must be one list of item ids per user, e.g. [[50, 181], [127]]")
        ids = joined(histories, "item")
        positions = self._positions("item", ids, unknown)
        kept = np.concatenate([[0], np.cumsum(positions >= 0)])
        offsets = kept[np.concatenate([[0], np.cumsum([len(history) for history in histories], dtype=np.int64)])]
        kept_rows = positions >= 0
        columns = flat([len(history) for history in histories], event_types, times, values, self.event_names)
        own = described(
            offsets, positions[kept_rows], *(None if column is None else column[kept_rows] for column in columns)
        )
        items, scores, source = self.rank_histories(offsets, own.items, k, exclude_seen, own)
        return self._frame("history", np.arange(len(histories)), items, scores, source)

    def rank_histories(
        self,
        offsets: np.ndarray,
        items: np.ndarray,
        k: int,
        exclude_seen: bool = True,
        known: UserHistories | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rank the catalog for histories of item positions; history r is `items[offsets[r] : offsets[r + 1]]`.

        `known` has the same histories with what else is known of their entries.

        Returns:
            Items [R, k] padded with -1, scores [R, k], and whether each list comes from the model [R].
        """
        n = len(offsets) - 1
        best, scores, source = np.empty((n, k), np.int32), np.empty((n, k), np.float32), np.empty(n, bool)
        # The program of a row depends only on its own length.
        lengths = np.array([max(self._longest, _length(int(size))) for size in np.diff(offsets)], np.int64)
        for length in np.unique(lengths):
            recommender, rows = self.batch_recommender(k, MANY, int(length)), np.flatnonzero(lengths == length)
            for part in slices(len(rows), MANY):
                block = rows[part]
                latest = windows(offsets[block], offsets[block + 1], items, recommender.length)
                users = np.full(len(latest), NEW)
                bounds, names = (offsets[block], offsets[block + 1]), self.model.history_columns
                columns = history_columns.windows(
                    known or UserHistories(offsets, items), names, *bounds, latest.shape[1]
                )
                best[block], scores[block] = recommender(users, latest, exclude_seen, columns=columns)
                source[block] = recommender.is_model(users, latest)
        return best, scores, source

    def item_vectors(self) -> np.ndarray | None:
        """Return item vectors [I, D] in the order of `item_ids`; None if scores are not dot products."""
        model = with_tables(self.model, self._feature_tables)
        return np.asarray(model.bind(self._params).item_vectors()) if isinstance(model, Factorized) else None

    def user_vectors(self, users: np.ndarray) -> np.ndarray | None:
        """Return vectors [R, D] of users at these positions; their products with `item_vectors` are the scores."""
        model = self.model
        if not isinstance(model, Factorized):
            return None
        reads = model.history_length
        vectors = programs.jit(partial(_query_vectors, model))

        def of_block(rows: np.ndarray) -> Array:
            block = users[rows].astype(np.int32)
            histories = self.histories(block, reads) if reads else None
            return vectors(self._feature_tables, self._params, block, histories, self.columns(block, reads))

        return in_blocks(of_block, len(users), MANY)

    def batch_recommender(self, k: int, batch: int, length: int) -> BatchRecommender:
        """Return the cached recommender for up to `batch` rows, histories of up to `length` items, and k items each."""
        self._check_k(k)
        if (key := (k, batch, length)) not in self._batch_recommenders:
            folds = self._fallback.folds is not None
            reads = length if folds else self.model.history_length or 1
            if reads not in self._scorers:
                self._scorers[reads] = CatalogScorer(
                    self.model, self._feature_tables, self._params, self._trained, self._has_features, reads
                )
            self._batch_recommenders[key] = BatchRecommender(self._scorers[reads], k=k, batch=batch, length=length)
        return self._batch_recommenders[key]

    def histories(self, users: np.ndarray, length: int) -> np.ndarray:
        """Return the latest `length` items [R, length] of users at these positions; see `windows`."""
        return windows(self.known.offsets[users], self.known.offsets[users + 1], self.known.items, length)

    def columns(self, users: np.ndarray, length: int) -> dict[str, np.ndarray]:
        """Return what the model reads of the entries of `histories` besides items."""
        bounds = self.known.offsets[users], self.known.offsets[users + 1]
        return history_columns.windows(self.known, self.model.history_columns, *bounds, length)

    def positions_of_items(self, item_ids: Ids) -> np.ndarray:
        """Return positions of items in `item_ids`; an unknown item is an InputError."""
        return self._positions("item", item_ids)

    @property
    def arrays(self) -> tuple[FeatureTables, Params]:
        """Feature tables and parameters of the model."""
        return self._feature_tables, self._params

    @property
    def knows_new_users(self) -> bool:
        """Whether the model scores new users from their history; if not, popularity does."""
        return self.model.by_history(1) is not None

    def score(self, user_ids: Ids, item_ids: Ids) -> np.ndarray:
        """Return scores [N] of N user-item pairs; a single user is scored for all items."""
        users, items = self._positions("user", user_ids), self._positions("item", item_ids)
        users = np.broadcast_to(users, items.shape) if len(users) == 1 else users
        if len(users) != len(items):
            raise InputError(f"score needs as many users as items, got {len(users)} and {len(items)}")
        return self.score_at(users, items)

    def rank(self, users: np.ndarray, k: int, exclude_seen: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best items of users and their scores [R, k], as positions in the id tables, padded with -1."""
        return self._ranked(users, k, exclude_seen)[:2]

    def score_at(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return scores [N] of pairs of positions."""
        rows = users, self.known.offsets[users], self.known.offsets[users + 1]
        own, folded = row_sources(self.model, self._fallback, rows, self.known, self._has_features)
        scores = self.popular[items]
        for mask, pairs in ((own, self._pairs), (folded, self._folded_pairs)):
            if mask.any():
                scores[mask] = pairs(users[mask], items[mask])
        return scores

    def evaluated(self, evaluation: FullCatalog, held: HeldOut) -> Evaluation:
        """Evaluate this model on a held-out part."""
        return evaluation.evaluator(self.model, held, self._fallback)(*self.fitted.members())

    def _ranked(self, users: np.ndarray, k: int, exclude_seen: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`rank`, and whether each list comes from the model; users may be `NEW`."""
        if len(users) <= MANY:
            return self._ranked_by_rows(users, k, exclude_seen)
        # Worth a separate program that shards users over devices; all new users get the same list.
        n, known = len(users), users >= 0
        items, scores, by_model = np.empty((n, k), np.int32), np.empty((n, k), np.float32), np.empty(n, bool)
        if known.any():
            query_rows = QueryRows.about(users[known], self.known, self._encoded)
            rows = query_rows.users, query_rows.start, query_rows.end
            items[known], scores[known] = self.fitted.rank(query_rows, k, exclude_seen)
            by_model[known] = np.logical_or(
                *row_sources(self.model, self._fallback, rows, self.known, self._has_features)
            )
        if not known.all():
            new = self._ranked_by_rows(np.array([NEW]), k, exclude_seen)
            items[~known], scores[~known], by_model[~known] = new
        return items, scores, by_model

    def _ranked_by_rows(
        self, users: np.ndarray, k: int, exclude_seen: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`_ranked` with fixed-shape programs, for up to MANY users."""
        recommender = self.batch_recommender(k, MANY, self._longest)
        histories, hidden = (np.full((len(users), recommender.length), -1, np.int32) for _ in range(2))
        known = users >= 0
        offsets, seen = self.known.masked(users[known])
        hidden[known] = windows(offsets[:-1], offsets[1:], seen, recommender.length)
        histories[known] = self.histories(users[known], recommender.length)
        columns = completed({}, self.model.history_columns, histories.shape)
        for name, column in self.columns(users[known], recommender.length).items():
            columns[name][known] = column
        items, scores = recommender(users, histories, exclude_seen, hidden, columns)
        return items, scores, recommender.is_model(users, histories)

    def _check_k(self, k: int) -> None:
        if not 1 <= k <= len(self.item_ids):
            raise InputError(f"k={k}: must be from 1 to {len(self.item_ids)}, the catalog size")

    def _positions(self, kind: Literal["user", "item"], ids: Ids, unknown: Unknown = "error") -> np.ndarray:
        """Return positions of ids in their table; -1 for unknown ids unless they are an error."""
        table = self._users if kind == "user" else self._items
        positions = table.find(ids, kind)
        if unknown == "error" and (missing := np.flatnonzero(positions < 0)).size:
            first = canonical(ids, kind)[missing[:1]].tolist()[0]
            raise InputError(f"{kind} {first!r} is not in this run's data ({missing.size} of {len(ids)} are missing)")
        return positions

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


def _on_device(view: np.ndarray) -> Array:
    """Copy a memory-mapped array to the device; CPU devices share one copy."""
    aligned = memory.empty(view.shape, view.dtype)
    aligned[...] = view
    return jax.device_put(aligned)


def _query_vectors(
    model: Model,
    feature_tables: FeatureTables,
    params: Params,
    users: Array,
    histories: Array | None,
    columns: Mapping[str, Array],
) -> Array:
    query = Query(users, None if histories is None else History(histories, **columns))
    return with_tables(model, feature_tables).bind(params).query_vectors(query)


def _length(longest: int) -> int:
    """Round a length up to a power of two (at least 16), so that few programs are compiled."""
    return max(16, 1 << max(longest - 1, 0).bit_length())


def _trained(extra: checkpoint.Extra, known: UserHistories, n_items: int) -> Trained:
    """Return what the run was trained on; for runs without that record, derive it from the known histories."""
    if all(f"trained_{name}" in extra for name in Trained._fields):
        return Trained(*(np.asarray(extra[f"trained_{name}"]) for name in Trained._fields))
    offsets, items = known.masked(np.arange(len(known.offsets) - 1))
    popular = np.bincount(items, minlength=n_items).astype(np.float32)
    return Trained(popular, np.diff(offsets) > 0, np.ones(n_items, bool))
