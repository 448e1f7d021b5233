"""Top-k recommendation for users and histories with fixed-shape programs, so results do not depend on the batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from jaxrec import programs
from jaxrec.blockwise import in_blocks
from jaxrec.errors import InputError
from jaxrec.fallback import Mask, TrainingSummary, blend, fold_in_model, source_masks
from jaxrec.features import FeatureTables, with_tables
from jaxrec.history import History
from jaxrec.models.model import Model, Params
from jaxrec.query import Query
from jaxrec.ranking import item_side, score_all
from jaxrec.recommend.history_columns import Columns, completed, latest
from jaxrec.top_k import top_k

NEW = -1  # user position of a row that is described only by its history
ROWS = 8  # rows per program call


@dataclass(frozen=True)
class Scoring:
    """Scores of rows as pure functions of arrays.

    The model reads the id of a row, or the latest items of its history. `jaxrec.fallback` chooses the source of rows
    that the model cannot score; popularity scores are interaction counts.

    Attributes:
        model: the trained model
        folds: its fold-in model; None if it does not support fold-in
        length: maximum length of histories
    """

    model: Model
    folds: Model | None
    length: int

    @property
    def reads(self) -> int:
        """Length of the histories that the model itself reads."""
        return self.model.history_length

    def scores(
        self, shared: PyTree, users: Int[Array, "B"], histories: Int[Array, "B T"], columns: Mapping[str, Array]
    ) -> Float[Array, "B I"]:
        """Return the scores of every item; `shared` is `CatalogScorer.shared`, `columns` is as in `Columns`."""
        feature_tables, params, side, known = shared
        model = with_tables(self.model, feature_tables)
        own, folded = self.sources(known, users, histories)
        scores = score_all(model, params, side, Query(users, self._window(histories, columns, self.reads)))
        query = Query(users, self._window(histories, {}, self.length))
        folds = self.folds
        fold = None if folds is None else lambda: score_all(folds, params, side, query)
        return blend(scores, own, folded, known[0].popular, fold)

    def scored(
        self, shared: PyTree, users: Array, histories: Array, columns: Mapping[str, Array]
    ) -> tuple[Array, Array]:
        """Return the scores of every item, and whether all are finite."""
        scores = self.scores(shared, users, histories, columns)
        return scores, jnp.isfinite(scores).all()

    def sources(self, known: PyTree, users: Mask, histories: Mask) -> tuple[Mask, Mask]:
        """Return the masks of rows scored by the model and by fold-in, on the host or the device."""
        (_, was_trained, items), has_features = known
        exists = users >= 0
        at = users.clip(0)
        window = histories[:, -(self.reads or self.length) :]
        has_history = (items[window.clip(0)] & (window >= 0)).any(axis=1)
        trained = was_trained[at] & exists if len(was_trained) else exists & False
        has_features = None if has_features is None else has_features[at] & exists
        own, folded = source_masks(self.model, trained, has_history, has_features, self.folds is not None)
        return own & (exists | has_history), folded  # a row without user and history is never scored by the model

    def read(self, histories: Shaped[np.ndarray, "B T"]) -> Shaped[np.ndarray, "B T"]:
        """Cut or pad to the length that is read, so that the program does not depend on other rows' histories."""
        length = self.reads or self.length
        missing = max(0, length - histories.shape[1])
        return np.pad(histories, ((0, 0), (missing, 0)), constant_values=-1)[:, -length:]

    def _window(self, histories: Int[Array, "B T"], columns: Mapping[str, Array], length: int) -> History | None:
        """Return the latest `length` entries."""
        if not length:
            return None
        missing = max(0, length - histories.shape[1])

        def latest(column: Array) -> Array:
            padded = jnp.pad(column, ((0, 0), (missing, 0)), constant_values=-1)
            return padded[:, padded.shape[1] - length :]

        return History(latest(histories), **{name: latest(column) for name, column in columns.items()})


class CatalogScorer:
    """Catalog scores for rows with histories of up to `length` items; see `Scoring`.

    Always ROWS rows at a time, in one compiled program: matrix products of other shapes sum in another order, so the
    last digits of a score, and thus the order of near ties, would depend on the other requests of the batch.

    Args:
        model: the trained model.
        feature_tables: its feature tables.
        params: its parameters.
        trained: summary of its training data.
        has_features: whether each user has features [U]; None for a model without user features.
        length: maximum length of histories.
    """

    def __init__(
        self,
        model: Model,
        feature_tables: FeatureTables,
        params: Params,
        trained: TrainingSummary,
        has_features: Bool[np.ndarray, "U"] | None,
        length: int,
    ) -> None:
        self.model, self.n_items = model, len(trained.popular)
        self.scoring = Scoring(model, fold_in_model(model, length), length)
        self._trained, self._has_features = trained, has_features
        side = programs.jit(partial(_item_side, model))(feature_tables, params)
        known = jax.tree.map(jnp.asarray, (trained, has_features))
        self.shared = feature_tables, params, side, known
        self._program = programs.jit(self.scoring.scored)

    def __call__(
        self,
        users: Int[np.ndarray, "ROWS"],
        histories: Int[np.ndarray, "ROWS T"],
        columns: Columns = MappingProxyType({}),
    ) -> Float[Array, "ROWS I"]:
        """Return the scores, on the device; raise an InputError if one is not finite."""
        names = self.model.history_columns
        read = {name: self.scoring.read(c) for name, c in completed(columns, names, histories.shape).items()}
        scores, finite = self._program(self.shared, users, self.scoring.read(histories), read)
        if not finite:
            raise InputError(f"{type(self.model).__name__} returned non-finite scores: train it again")
        return scores

    def is_model(self, users: Int[np.ndarray, "B"], histories: Int[np.ndarray, "B T"]) -> Bool[np.ndarray, "B"]:
        """Return whether the scores of each row come from the model instead of popularity."""
        known = self._trained, self._has_features
        own, folded = self.scoring.sources(known, users, self.scoring.read(histories))
        return np.asarray(own | folded)


def _item_side(model: Model, feature_tables: FeatureTables, params: Params) -> PyTree:
    return item_side(with_tables(model, feature_tables), params)


class BatchRecommender:
    """Top-k items by `CatalogScorer`, for up to `batch` rows at a time.

    Scores of at most ROWS rows are in memory at once.
    """

    def __init__(self, scorer: CatalogScorer, *, k: int, batch: int, length: int) -> None:
        self.scorer, self.k, self.batch, self.length = scorer, k, batch, length
        self._program = programs.jit(partial(_best, k))

    def __call__(
        self,
        users: Int[np.ndarray, "B"],
        histories: Int[np.ndarray, "B T"],
        exclude: bool = True,
        hidden: Int[np.ndarray, "B T"] | None = None,
        columns: Columns = MappingProxyType({}),
    ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
        """Return items and scores, best first, padded with -1.

        Args:
            users: positions in the user table, or `NEW`.
            histories: positions in the item table, oldest first, left-padded with -1; see `windows`.
            exclude: filter the items in `hidden`.
            hidden: positions in the item table, padded with -1; None: the items of the history.
            columns: what else is known of the entries of the histories, [B, T] by name, see `Model.history_columns`;
                what is missing is unknown.

        Raises:
            InputError: a score is not finite.
        """
        n = len(users)
        hidden = histories if hidden is None else hidden
        if n > self.batch or not histories.shape == hidden.shape == (n, self.length):
            raise ValueError(
                f"got {n} rows of shape {histories.shape[1:]}, expected up to {self.batch} rows of {self.length}"
            )
        if not n:
            return np.empty((0, self.k), np.int32), np.empty((0, self.k), np.float32)
        hidden = hidden if exclude else np.full_like(hidden, -1)
        users, histories, hidden = (x.astype(np.int32) for x in (users, histories, hidden))

        def best(rows: Int[np.ndarray, "ROWS"]) -> tuple[Array, Array]:
            return self._program(
                self.scorer(users[rows], histories[rows], {name: c[rows] for name, c in columns.items()}), hidden[rows]
            )

        return in_blocks(best, n, ROWS)

    def is_model(self, users: np.ndarray, histories: np.ndarray) -> np.ndarray:
        """Return whether the list of each row comes from the model instead of popularity [B]."""
        return self.scorer.is_model(users, histories)


def _best(k: int, scores: Float[Array, "B I"], hidden: Int[Array, "B X"]) -> tuple[Array, Array]:
    """Return the k best items of each row and their scores, without hidden items."""
    n_rows, n_items = scores.shape
    out = jnp.where(hidden < 0, n_items, hidden)
    scores = scores.at[jnp.arange(n_rows)[:, None], out].set(-jnp.inf, mode="drop")
    values, items = top_k(scores, k)
    return jnp.where(values > -jnp.inf, items, -1), values


def windows(start: np.ndarray, end: np.ndarray, items: np.ndarray, length: int) -> Int[np.ndarray, "B T"]:
    """Return the latest `length` items of each range `start .. end`, left-padded with -1."""
    return latest(items, start, end, length).astype(np.int32)
