"""Loads what `jaxrec export` wrote, with jax and numpy alone; a copy of this file lies in every export as load.py.

    from load import Exported

    model = Exported("FOLDER")
    model.recommend([196, 22], k=10)             # a list of (item_id, score) for each user
    model.recommend_histories([[50, 181]], k=10)  # for new users, each known by item ids, oldest first

`model.program(weights, users [b], histories [b, T], excluded [b, x])` is the compiled program itself, for any b and x:
positions in `user_ids` and `item_ids` in, -1 for a new user and for padding (on the left of histories); items and
scores [b, K] out, best first, -1 where there is none. A row that says nothing of its user gets the most popular items.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

ROWS_AT_A_TIME = 256


class Exported:
    """A model of an export folder; runs on cpu, cuda and tpu, whatever it was trained on."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.about: dict[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        with np.load(folder / "tables.npz") as tables:
            self.tables = dict(tables)
        with np.load(folder / "weights.npz") as weights:
            self.weights = [jax.numpy.asarray(weights[f"{i:04}"]) for i in range(len(weights.files))]
        self.user_ids, self.item_ids = self.tables["user_ids"], self.tables["item_ids"]
        self.program = jax.jit(jax.export.deserialize(bytearray((folder / "program.bin").read_bytes())).call)
        self._user = {str(user): at for at, user in enumerate(self.user_ids.tolist())}
        self._item = {str(item): at for at, item in enumerate(self.item_ids.tolist())}

    def recommend(
        self, user_ids: Sequence[Any], k: int = 10, exclude_seen: bool = True, unknown: str = "error"
    ) -> list[list[tuple]]:
        """The k best items of each user.

        A user the export does not know is a KeyError, or, with unknown="popularity", gets the most popular items.
        """
        names = [as_text(user) for user in user_ids]
        users = [self._user[name] if unknown == "error" else self._user.get(name, -1) for name in names]
        offsets, items = self.tables["known_offsets"], self.tables["known_items"]
        wanted = self.tables.get("known_target", np.ones(len(items), bool))
        stretches = [slice(offsets[user], offsets[user + 1]) if user >= 0 else slice(0) for user in users]
        seen = [items[s][wanted[s]] if exclude_seen else items[:0] for s in stretches]
        return self._lists(users, [items[s] for s in stretches], seen, k)

    def recommend_histories(
        self, histories: Sequence[Sequence[Any]], k: int = 10, exclude_seen: bool = True
    ) -> list[list[tuple]]:
        """The k best items for each history of item ids; KeyError for an item the model was not given."""
        lists = [np.array([self._item[as_text(item)] for item in history], np.int32) for history in histories]
        return self._lists([-1] * len(lists), lists, [h if exclude_seen else h[:0] for h in lists], k)

    def _lists(
        self, users: list[int], histories: list[np.ndarray], seen: list[np.ndarray], k: int
    ) -> list[list[tuple]]:
        if not 1 <= k <= self.about["k"]:
            raise ValueError(f"k={k}: this export gives lists of 1 to {self.about['k']}; export again with a larger k")
        found: list[list[tuple]] = []
        for start in range(0, len(users), ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            n = len(users[rows])
            # Few shapes, so that few programs are compiled: powers of two.
            b, x = (1 << max(size - 1, 0).bit_length() for size in (n, max(map(len, seen[rows]))))
            asked = np.full(b, -1, np.int32)
            asked[:n] = users[rows]
            window = _padded(histories[rows], b, self.about["history_length"])
            items, scores = self.program(self.weights, asked, window, _padded(seen[rows], b, x))
            for row in range(n):
                best = zip(np.asarray(items)[row, :k], np.asarray(scores)[row, :k], strict=True)
                found.append([(self.item_ids[i].item(), float(score)) for i, score in best if i >= 0])
        return found


def as_text(value: Any) -> str:
    """How an id reads, so that 7, "7", 7.0 and "7.0" are one; ValueError for a float that stands for no one integer."""
    if isinstance(value, bool | np.bool_):
        raise ValueError(f"{value} is no id: ids are text or whole numbers")
    if isinstance(value, float | np.floating):
        exact: Any = 2 ** (np.finfo(type(value)).nmant + 1)
        if not abs(value) < exact or value % 1:
            raise ValueError(f"{value} is no id: give it as an integer or as text")
        return str(int(value))
    text = str(value)
    if whole := re.fullmatch(r"(0|-?[1-9][0-9]*)\.0+", text):
        if abs(int(whole[1])) >= 2**53:
            raise ValueError(f"{text!r} is a float that has lost digits: give the id as an integer or as text")
        return whole[1]
    return text


def _padded(lists: list[np.ndarray], n_rows: int, length: int) -> np.ndarray:
    """The latest `length` entries of each, padded on the left by -1."""
    table = np.full((n_rows, length), -1, np.int32)
    for row, entries in enumerate(lists):
        latest = entries[max(0, len(entries) - length) :]
        table[row, length - len(latest) :] = latest
    return table
