"""A trained run, loaded to be asked: what to recommend to whom, and how a user would like given items."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import jax
import numpy as np
import pandas as pd
from jaxtyping import Array

from jaxrec import checkpoint, memory
from jaxrec.data import item_labels
from jaxrec.data.histories import UserHistories
from jaxrec.data.ids import IdTable, canonical, joined, written_as
from jaxrec.data.splits.split import HeldOut
from jaxrec.data.stored_features import restored
from jaxrec.errors import InputError
from jaxrec.evaluation.evaluation import Evaluation
from jaxrec.evaluation.full_catalog import FullCatalog
from jaxrec.fallback import Fallback, Trained, featured, folding, who
from jaxrec.features import FeatureTables, tables, with_tables
from jaxrec.history import History
from jaxrec.models.model import Factorized, Model, Params
from jaxrec.query import Query
from jaxrec.ranking import QueryRows
from jaxrec.recommend import stored_model
from jaxrec.recommend.batch_recommender import NEW, BatchRecommender, Scores, windows
from jaxrec.recommend.fitted import Fitted
from jaxrec.recommend.pair_scorer import PairScorer

MANY = 256  # rows at a time; requests of more are answered by `Ranker`

Ids = Sequence[Any] | np.ndarray | pd.Series
Unknown = Literal["error", "popularity"]


def load(run_dir: str | Path, model: type[Model] | None = None) -> "Recommender":
    """The model of a run directory, ready to recommend. Nothing that the directory names is imported or executed.

    Args:
        run_dir: what a run left.
        model: the class of the model where it is not one of jaxrec's; it must have the name that was stored.

    Raises:
        InputError: the directory has no readable model, names one that is not known here, or was written by another
            version of jaxrec.
    """
    return Recommender.of_run(run_dir, model)


class Recommender:
    """Answers in original ids, which may be given in any form that `jaxrec.data.ids` reads; a missing one is unknown.

    user_ids, item_ids:  the id tables; positions in them are what the methods that speak of positions take
    known:               what every user had in the data that the run knew (train and validation)
    popular:             how often every item was chosen in what the model was fitted to, the scores of the fallback for
                         users it knows nothing of; see `jaxrec.fallback`
    titles, categories:  of items, see `jaxrec.data.item_labels`; None where the data has none
    ages:                days from each item's first row in it to the newest row of all, NaN for an item without a row;
                         None where the data has no times
    """

    def __init__(self, model: Model, params: Params, extra: dict[str, Any]) -> None:
        self.model = model
        self.user_ids, self.item_ids = np.asarray(extra["user_ids"]), np.asarray(extra["item_ids"])
        self._params = jax.device_put(params)
        self._encoded = restored(extra)
        self.titles, self.categories = item_labels.restored(extra)
        self.ages = extra.get("ages")
        self.known = UserHistories(**{name: extra[f"known_{name}"] for name in UserHistories._fields})
        self._trained = _trained(extra, self.known, len(self.item_ids))
        self.popular = self._trained.popular
        # Histories of one length have one program, whoever else asks.
        self._longest = _length(int(np.diff(self.known.offsets).max(initial=1)))
        folds = folding(model, self._longest)
        self._fallback = Fallback(self._trained, folds)
        self.fitted = Fitted(model, self._params, self._fallback)
        self._given = tables(model, self._encoded)
        self._featured = featured(model, self._encoded)
        self._pairs = PairScorer(model, self._given, self._params, self.known)
        self._folded_pairs = PairScorer(folds or model, self._given, self._params, self.known)
        self._users, self._items = IdTable(self.user_ids), IdTable(self.item_ids)
        self._scores: dict[int, Scores] = {}
        self._answers: dict[tuple[int, int, int], BatchRecommender] = {}

    @classmethod
    def of_run(cls, run_dir: str | Path, model: type[Model] | None = None) -> Self:
        """The model of a run directory, see `load`."""
        directory = Path(run_dir) / "model"
        file, (params, extra) = checkpoint.model_file(directory), checkpoint.load(directory)
        params = jax.tree.map(_on_device, params)
        try:
            return cls(stored_model.restored(file, extra, params, model, restored(extra)), params, extra)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise InputError(
                f"{file} is not what this version of jaxrec writes ({reason}): load it with the version that wrote it, "
                "or train the run again"
            ) from error

    def recommend(
        self, user_ids: Ids, k: int = 10, exclude_seen: bool = True, unknown: Unknown = "error"
    ) -> pd.DataFrame:
        """The k best items of each user: columns user_id, item_id, score, rank (from 1), users in the order asked.

        A user with fewer than k items left gets fewer rows. `exclude_seen` leaves out what the user had in the data
        that the run knew (train and validation). A user that the run has not seen is an InputError, or, with
        unknown="popularity", gets the most popular items, the score being how often each was chosen; a column `source`
        then says of each row whether it is the model's or popularity's. Users of the run of whom the model knows
        nothing that it can use get the most popular items too; see `jaxrec.fallback`.
        """
        self._check_k(k)
        users = self._positions("user", user_ids, unknown)
        items, scores, by_model = self._ranked(users, k, exclude_seen)
        source = None if unknown == "error" else by_model
        return self._frame("user_id", written_as(canonical(user_ids, "user"), self.user_ids), items, scores, source)

    def recommend_histories(
        self, histories: Sequence[Ids], k: int = 10, exclude_seen: bool = True, unknown: Unknown = "error"
    ) -> pd.DataFrame:
        """The k best items for users known by a history alone, each a list of item ids, oldest first.

        Columns history (position in what was asked), item_id, score, rank (from 1) and source: `model`, or
        `popularity` where the history is empty or the model knows users by their ids only and cannot fold in
        (`knows_new_users` is False). A model sees of a history what it was trained to see, its latest items.
        An item that the run does not know is an InputError; with unknown="popularity" such items are left out, and a
        history of nothing else is an empty one. `exclude_seen` leaves out what is in the history.
        """
        self._check_k(k)
        if any(isinstance(history, str) for history in histories):
            raise InputError("histories must be lists of item ids, one a user, such as [[50, 181], [127]]")
        ids = joined(histories, "item")
        given = self._positions("item", ids, unknown)
        kept = np.concatenate([[0], np.cumsum(given >= 0)])
        offsets = kept[np.concatenate([[0], np.cumsum([len(history) for history in histories], dtype=np.int64)])]
        items, scores, source = self.rank_histories(offsets, given[given >= 0], k, exclude_seen)
        return self._frame("history", np.arange(len(histories)), items, scores, source)

    def rank_histories(
        self, offsets: np.ndarray, items: np.ndarray, k: int, exclude_seen: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Items and scores [R, k] for histories of positions, -1 behind the last item, and which lists are the model's.

        History r is `items[offsets[r] : offsets[r + 1]]`.
        """
        n = len(offsets) - 1
        found, scores, source = np.empty((n, k), np.int32), np.empty((n, k), np.float32), np.empty(n, bool)
        # What a row is asked with depends on its own length alone.
        lengths = np.array([max(self._longest, _length(int(size))) for size in np.diff(offsets)], np.int64)
        for length in np.unique(lengths):
            answers, rows = self.answers(k, MANY, int(length)), np.flatnonzero(lengths == length)
            for start in range(0, len(rows), MANY):
                block = rows[start : start + MANY]
                asked = windows(offsets[block], offsets[block + 1], items, answers.length)
                users = np.full(len(asked), NEW)
                found[block], scores[block] = answers(users, asked, exclude_seen)
                source[block] = answers.is_model(users, asked)
        return found, scores, source

    def item_vectors(self) -> np.ndarray | None:
        """Float32 [I, D] in the order of `item_ids`, for models whose scores are dot products; else None."""
        model = with_tables(self.model, self._given)
        return np.asarray(model.bind(self._params).item_vectors()) if isinstance(model, Factorized) else None

    def user_vectors(self, users: np.ndarray) -> np.ndarray | None:
        """Float32 [R, D] of users at these positions: times `item_vectors`, their scores."""
        model = self.model
        if not isinstance(model, Factorized):
            return None
        reads = model.history_length

        @jax.jit
        def vectors(given: FeatureTables, params: Params, users: Array, histories: Array | None) -> Array:
            query = Query(users, None if histories is None else History(histories))
            return with_tables(model, given).bind(params).query_vectors(query)

        parts = []
        for start in range(0, len(users), MANY):
            block = np.resize(users[start : start + MANY], MANY).astype(np.int32)
            histories = self.histories(block, reads) if reads else None
            found = np.asarray(vectors(self._given, self._params, block, histories))
            parts.append(found[: len(users) - start])
        return np.concatenate(parts)

    def answers(self, k: int, batch: int, length: int) -> BatchRecommender:
        """A program for up to `batch` rows with histories of up to `length` items, k items each; compiled once."""
        self._check_k(k)
        if (key := (k, batch, length)) not in self._answers:
            folds = self._fallback.folds is not None
            reads = length if folds else self.model.history_length or 1
            if reads not in self._scores:
                self._scores[reads] = Scores(
                    self.model, self._given, self._params, self._trained, self._featured, reads
                )
            self._answers[key] = BatchRecommender(self._scores[reads], k=k, batch=batch, length=length)
        return self._answers[key]

    def histories(self, users: np.ndarray, length: int) -> np.ndarray:
        """The latest `length` items [R, length] that users at these positions are known to have had; see `windows`."""
        return windows(self.known.offsets[users], self.known.offsets[users + 1], self.known.items, length)

    def positions_of_items(self, item_ids: Ids) -> np.ndarray:
        """Where items stand in `item_ids`, and so in titles; an unknown one is an InputError."""
        return self._positions("item", item_ids)

    @property
    def asked(self) -> tuple[Model, Params]:
        """The model with its tables of features, and its parameters: for what no method here answers."""
        return with_tables(self.model, self._given), self._params

    @property
    def knows_new_users(self) -> bool:
        """Whether the model itself answers for a user by a history alone; if not, popularity does."""
        return self.model.by_history(1) is not None

    def score(self, user_ids: Ids, item_ids: Ids) -> np.ndarray:
        """Scores [N] of N pairs of a user and an item; of one user for several items if one user is given."""
        users, items = self._positions("user", user_ids), self._positions("item", item_ids)
        users = np.broadcast_to(users, items.shape) if len(users) == 1 else users
        if len(users) != len(items):
            raise InputError(f"score takes as many users as items, got {len(users)} and {len(items)}")
        return self.score_at(users, items)

    def rank(self, users: np.ndarray, k: int, exclude_seen: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of users, and their scores, [R, k]: positions in the id tables, -1 behind the last item."""
        return self._ranked(users, k, exclude_seen)[:2]

    def score_at(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores [N] of pairs of positions."""
        rows = users, self.known.offsets[users], self.known.offsets[users + 1]
        own, folded = who(self.model, self._fallback, rows, self.known, self._featured)
        scores = self.popular[items]
        for mask, pairs in ((own, self._pairs), (folded, self._folded_pairs)):
            if mask.any():
                scores[mask] = pairs(users[mask], items[mask])
        return scores

    def evaluated(self, evaluation: FullCatalog, held: HeldOut) -> Evaluation:
        """Metrics of what this model would recommend to the users of a held-out part."""
        return evaluation.evaluator(self.model, held, self._fallback)(*self.fitted.members())

    def _ranked(self, users: np.ndarray, k: int, exclude_seen: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`rank`, and which lists are the model's; users may be `NEW`."""
        if len(users) <= MANY:
            return self._ranked_alike(users, k, exclude_seen)
        # A program of its own pays, in which devices share the users; those who are new all get one list.
        n, known = len(users), users >= 0
        items, scores, by_model = np.empty((n, k), np.int32), np.empty((n, k), np.float32), np.empty(n, bool)
        if known.any():
            asked = QueryRows.about(users[known], self.known, self._encoded)
            rows = asked.users, asked.start, asked.end
            items[known], scores[known] = self.fitted.rank(asked, k, exclude_seen)
            by_model[known] = np.logical_or(*who(self.model, self._fallback, rows, self.known, self._featured))
        if not known.all():
            new = self._ranked_alike(np.array([NEW]), k, exclude_seen)
            items[~known], scores[~known], by_model[~known] = new
        return items, scores, by_model

    def _ranked_alike(self, users: np.ndarray, k: int, exclude_seen: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`_ranked` by programs of one shape, for up to MANY users."""
        answers = self.answers(k, MANY, self._longest)
        histories, hidden = (np.full((len(users), answers.length), -1, np.int32) for _ in range(2))
        known = users >= 0
        offsets, had = self.known.masked(users[known])
        hidden[known] = windows(offsets[:-1], offsets[1:], had, answers.length)
        histories[known] = self.histories(users[known], answers.length)
        items, scores = answers(users, histories, exclude_seen, hidden)
        return items, scores, answers.is_model(users, histories)

    def _check_k(self, k: int) -> None:
        if not 1 <= k <= len(self.item_ids):
            raise InputError(f"k={k}: must be from 1 to the {len(self.item_ids)} items of the catalog")

    def _positions(self, kind: Literal["user", "item"], ids: Ids, unknown: Unknown = "error") -> np.ndarray:
        """Where ids stand in their table; -1 for unknown ones unless they are an error."""
        table = self._users if kind == "user" else self._items
        found = table.find(ids, kind)
        if unknown == "error" and (missing := np.flatnonzero(found < 0)).size:
            shown = canonical(ids, kind)[missing[:1]].tolist()[0]
            raise InputError(f"{kind} {shown!r} is not in this run's data ({missing.size} of {len(ids)} are not)")
        return found

    def _frame(
        self, key: str, asked: np.ndarray, items: np.ndarray, scores: np.ndarray, source: np.ndarray | None
    ) -> pd.DataFrame:
        """One row an item of a list."""
        row, rank = np.nonzero(items >= 0)
        columns = {
            key: asked[row],
            "item_id": self.item_ids[items[row, rank]],
            "score": scores[row, rank],
            "rank": rank + 1,
        }
        if source is not None:
            columns["source"] = np.where(source, "model", "popularity").astype(object)[row]
        return pd.DataFrame(columns)


def _on_device(view: np.ndarray) -> Array:
    """The one copy in memory of a view of a file, which all devices of a CPU share."""
    aligned = memory.empty(view.shape, view.dtype)
    aligned[...] = view
    return jax.device_put(aligned)


def _length(longest: int) -> int:
    """Of few lengths the one that holds so many items, so that few programs are compiled."""
    return max(16, 1 << max(longest - 1, 0).bit_length())


def _trained(extra: dict[str, Any], known: UserHistories, n_items: int) -> Trained:
    """What the run was trained on; of runs that do not say, what was known of its users."""
    if all(f"trained_{name}" in extra for name in Trained._fields):
        return Trained(*(np.asarray(extra[f"trained_{name}"]) for name in Trained._fields))
    offsets, chosen = known.masked(np.arange(len(known.offsets) - 1))
    popular = np.bincount(chosen, minlength=n_items).astype(np.float32)
    return Trained(popular, np.diff(offsets) > 0, np.ones(n_items, bool))
