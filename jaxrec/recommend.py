"""A trained run, loaded to be asked: what to recommend to whom, and how a user would like given items."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxrec.checkpoint import load_extra, load_params
from jaxrec.data.histories import Histories
from jaxrec.data.stored_features import restored
from jaxrec.errors import InputError
from jaxrec.features import tables, with_tables
from jaxrec.hyper import Hyper
from jaxrec.ranking import Asked, Ranker, query_of
from jaxrec.settings import build

USERS_AT_A_TIME = 1024  # scores are asked for in blocks of so many pairs


def load(run_dir: str | Path) -> "Recommender":
    """The model of a run directory, ready to recommend. Nothing in the directory is executed.

    Raises InputError if the directory has no readable model.
    """
    directory = Path(run_dir) / "model"
    extra = load_extra(directory)
    return Recommender(build(extra["module"]), load_params(directory), extra)


class Recommender:
    """Answers in original ids."""

    def __init__(self, model: nn.Module, params: Any, extra: dict[str, Any]) -> None:
        self.model = model
        self.user_ids, self.item_ids = np.asarray(extra["user_ids"]), np.asarray(extra["item_ids"])
        self._params = jax.tree.map(jnp.asarray, params)
        self._encoded = restored(extra)
        self.known = Histories(**{name: extra[f"known_{name}"] for name in Histories._fields})
        self._whole = with_tables(model, tables(model, self._encoded))
        self._users, self._items = pd.Index(self.user_ids), pd.Index(self.item_ids)

    def recommend(self, user_ids: Sequence[Any], k: int = 10, exclude_seen: bool = True) -> pd.DataFrame:
        """The k best items of each user: columns user_id, item_id, score, rank (from 1), users in the order asked.

        A user with fewer than k items left gets fewer rows. `exclude_seen` leaves out what the user had in the data
        that the run knew (train and validation). Raises InputError for a user that the run has not seen.
        """
        if not 1 <= k <= len(self.item_ids):
            raise InputError(f"k={k}: must be from 1 to the {len(self.item_ids)} items of the catalogue")
        users = _positions(self._users, user_ids, "user")
        items, scores = self.rank(users, k, exclude_seen)
        row, rank = np.nonzero(items >= 0)
        return pd.DataFrame(
            {
                "user_id": self.user_ids[users][row],
                "item_id": self.item_ids[items[row, rank]],
                "score": scores[row, rank],
                "rank": rank + 1,
            }
        )

    def score(self, user_ids: Sequence[Any], item_ids: Sequence[Any]) -> np.ndarray:
        """Scores [N] of N pairs of a user and an item; of one user for several items if one user is given."""
        users, items = _positions(self._users, user_ids, "user"), _positions(self._items, item_ids, "item")
        users = np.broadcast_to(users, items.shape) if len(users) == 1 else users
        if len(users) != len(items):
            raise InputError(f"score takes as many users as items, got {len(users)} and {len(items)}")
        return self.score_at(users, items)

    def rank(self, users: np.ndarray, k: int, exclude_seen: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of users, and their scores, [R, k]: positions in the id tables, -1 behind the last item."""
        asked = Asked.about(users, self.known, self._encoded)
        ranked = Ranker(self.model, asked, k, exclude_known=exclude_seen)(*self._one_member())
        if not ranked.finite[0]:
            raise InputError(f"{type(self.model).__name__} gives scores that are not finite; train it again")
        return np.asarray(ranked.items[0]), np.asarray(ranked.scores[0])

    def score_at(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores [N] of pairs of positions."""
        blocks = range(0, len(users), USERS_AT_A_TIME)
        parts = [self._score(users[at : at + USERS_AT_A_TIME], items[at : at + USERS_AT_A_TIME]) for at in blocks]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        query = query_of(self.model, Asked.about(users, self.known))
        scores: Any = self._whole.apply(self._params, query, jnp.asarray(items, jnp.int32)[:, None])
        return np.asarray(scores[:, 0])

    def _one_member(self) -> tuple[Any, Hyper]:
        """The parameters as a population of one; its numbers are in the module already."""
        absent = Hyper._field_defaults
        numbers: dict[str, Any] = {name: getattr(self.model, name, absent.get(name, 0)) for name in Hyper._fields}
        return jax.tree.map(lambda x: jnp.asarray(x)[None], (self._params, Hyper(**numbers)))


def _positions(index: pd.Index, ids: Sequence[Any], kind: str) -> np.ndarray:
    found = index.get_indexer(pd.Index(ids))
    if (missing := np.flatnonzero(found < 0)).size:
        raise InputError(f"{kind} {ids[missing[0]]!r} is not in this run's data ({missing.size} of {len(ids)} are not)")
    return found
