"""Trained run by positions in its id tables: ranking for users and histories, and scores of user-item pairs."""

from collections.abc import Mapping
from functools import partial

import jax
import numpy as np
from jaxtyping import Array

from jaxrec import checkpoint, programs
from jaxrec.blockwise import in_blocks, slices
from jaxrec.data import item_labels
from jaxrec.data.histories import UserHistories
from jaxrec.data.splits.assembly import HeldOut
from jaxrec.data.stored_features import restore_features
from jaxrec.errors import InputError
from jaxrec.evaluation.evaluation import Evaluation
from jaxrec.evaluation.full_catalog import FullCatalog
from jaxrec.fallback import Fallback, TrainingSummary, fold_in_model, row_sources, users_with_features
from jaxrec.features import FeatureTables, tables, with_tables
from jaxrec.history import History
from jaxrec.models.model import Model, Params, has_dot_products
from jaxrec.query import Query
from jaxrec.ranking import QueryRows
from jaxrec.recommend import history_columns
from jaxrec.recommend.batch_recommender import NEW, BatchRecommender, CatalogScorer, windows
from jaxrec.recommend.fitted import Fitted
from jaxrec.recommend.history_columns import completed
from jaxrec.recommend.pair_scorer import PairScorer

MANY = 256  # rows at a time; larger requests use `Ranker`


class PositionRecommender:
    """Recommends to users at positions in `user_ids`; items are positions in `item_ids`.

    Attributes:
        user_ids, item_ids: original ids.
        known: history of every user in the train and validation data of the run.
        longest_history: length of the longest known history, rounded up, which folding in reads at least.
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
        self._encoded = restore_features(extra)
        self.titles, self.categories = item_labels.restore_labels(extra)
        self.ages = extra.get("ages")
        columns = {name: extra[f"known_{name}"] for name in UserHistories._fields if name != "time"}
        self.known = UserHistories(**columns, time=extra.get("known_time"))
        self.event_names = tuple(extra.get("event_names", ()))
        self._trained = _trained(extra, self.known, len(self.item_ids))
        self.popular = self._trained.popular
        # One program per history length, independent of the other rows.
        self.longest_history = _length(int(np.diff(self.known.offsets).max(initial=1)))
        folds = fold_in_model(model, self.longest_history)
        self._fallback = Fallback(self._trained, folds)
        self.fitted = Fitted(model, self._params, self._fallback)
        self._feature_tables = tables(model, self._encoded)
        self._has_features = users_with_features(model, self._encoded)
        self._pairs = PairScorer(model, self._feature_tables, self._params, self.known)
        self._folded_pairs = PairScorer(folds or model, self._feature_tables, self._params, self.known)
        self._scorers: dict[int, CatalogScorer] = {}
        self._batch_recommenders: dict[tuple[int, int, int], BatchRecommender] = {}

    def rank(self, users: np.ndarray, k: int, exclude_seen: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best items of users and their scores [R, k], as positions in the id tables, padded with -1."""
        return self._ranked(users, k, exclude_seen)[:2]

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
        lengths = np.array([max(self.longest_history, _length(int(size))) for size in np.diff(offsets)], np.int64)
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

    def score_at(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return scores [N] of pairs of positions."""
        rows = users, self.known.offsets[users], self.known.offsets[users + 1]
        own, folded = row_sources(self.model, self._fallback, rows, self.known, self._has_features)
        scores = self.popular[items]
        for mask, pairs in ((own, self._pairs), (folded, self._folded_pairs)):
            if mask.any():
                scores[mask] = pairs(users[mask], items[mask])
        return scores

    def item_vectors(self) -> np.ndarray | None:
        """Return item vectors [I, D] in the order of `item_ids`; None if scores are not dot products."""
        model = with_tables(self.model, self._feature_tables)
        return np.asarray(model.bind(self._params).item_vectors()) if has_dot_products(model) else None

    def user_vectors(self, users: np.ndarray) -> np.ndarray | None:
        """Return vectors [R, D] of users at these positions; their products with `item_vectors` are the scores."""
        model = self.model
        if not has_dot_products(model):
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

    @property
    def arrays(self) -> tuple[FeatureTables, Params]:
        """Feature tables and parameters of the model."""
        return self._feature_tables, self._params

    @property
    def knows_new_users(self) -> bool:
        """Whether the model scores new users from their history; if not, popularity does."""
        return self.model.by_history(1) is not None

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
            query_rows = QueryRows.for_users(users[known], self.known, self._encoded)
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
        recommender = self.batch_recommender(k, MANY, self.longest_history)
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


def _trained(extra: checkpoint.Extra, known: UserHistories, n_items: int) -> TrainingSummary:
    """Return what the run was trained on; for runs without that record, derive it from the known histories."""
    if all(f"trained_{name}" in extra for name in TrainingSummary._fields):
        return TrainingSummary(*(np.asarray(extra[f"trained_{name}"]) for name in TrainingSummary._fields))
    offsets, items = known.masked(np.arange(len(known.offsets) - 1))
    popular = np.bincount(items, minlength=n_items).astype(np.float32)
    return TrainingSummary(popular, np.diff(offsets) > 0, np.ones(n_items, bool))
