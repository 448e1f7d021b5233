"""Loader for exports of `jaxrec export`; needs only jax and numpy. Every export has a copy of this file as load.py.

    from load import Exported

    model = Exported("FOLDER")
    model.recommend([196, 22], k=10)             # one list of (item_id, score) per user
    model.recommend_histories([[50, 181]], k=10)  # for new users, given item ids, oldest first

`model.program(weights, users [b], histories [b, T], excluded [b, x])` is the compiled program, for any b and x.
If `model.about["history_columns"]` is not empty, histories are a dict of `items` and these columns, each [b, T]:
`event` (positions in `model.about["event_names"]`), `gap` (seconds since the previous entry, 0 of the first), `value`,
and `hour` (since 1970); unknown are -1 and, of values, NaN.
Inputs are positions in `user_ids` and `item_ids`, -1 for a new user and for padding (histories are left-padded).
Outputs are items and scores [b, K], best first, padded with -1. A row without user and history gets the most popular
items.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.export
import numpy as np

FORMAT = 1
ROWS_AT_A_TIME = 256
# Calls of exported programs besides operations of XLA: assertions on shapes, and linear algebra (the last of a TPU).
# Others could run code outside of the program.
CALLS = re.compile(
    r"custom_call @(?:shape_assertion|(?:lapack|cusolver|cublas|hipsolver|hipblas)_[a-z]+_ffi"
    r"|Eigh|Qr|LuDecomposition)\("
)


class Exported:
    """Model loaded from an export folder; runs on cpu, cuda and tpu, independent of the training device.

    Raises:
        ValueError: the folder is damaged, of another format, or its program calls code outside of it.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        if self.about.get("format", FORMAT) != FORMAT:
            raise ValueError(f"{folder} has format {self.about['format']}, supported is {FORMAT}: use its own load.py")
        for name, digest in self.about.get("sha256", {}).items():
            if hashlib.sha256((folder / Path(name).name).read_bytes()).hexdigest() != digest:
                raise ValueError(f"{folder / name} is damaged: its checksum is wrong; export the run again")
        with np.load(folder / "tables.npz", allow_pickle=False) as tables:
            self.tables = dict(tables)
        with np.load(folder / "weights.npz", allow_pickle=False) as weights:
            self.weights = [jax.numpy.asarray(weights[f"{i:04}"]) for i in range(len(weights.files))]
        self._columns = self.about.get("history_columns", [])
        self.user_ids, self.item_ids = self.tables["user_ids"], self.tables["item_ids"]
        program = jax.export.deserialize(bytearray((folder / "program.bin").read_bytes()))
        text = program.mlir_module()
        if text.count("custom_call") != len(CALLS.findall(text)):
            raise ValueError(f"{folder / 'program.bin'} calls code outside of the program, so it is not run")
        self.program = jax.jit(program.call)
        self._user = {str(user): at for at, user in enumerate(self.user_ids.tolist())}
        self._item = {str(item): at for at, item in enumerate(self.item_ids.tolist())}

    def recommend(
        self, user_ids: Sequence[object], k: int = 10, exclude_seen: bool = True, unknown: str = "error"
    ) -> list[list[tuple]]:
        """Return the k best items of each user as (item_id, score).

        Args:
            user_ids: ids of users.
            k: list length.
            exclude_seen: filter items of the user's training history.
            unknown: "error", or "popularity" to return the most popular items for an unknown user.

        Raises:
            KeyError: an unknown user, with unknown="error".
            ValueError: k is larger than the export allows.
        """
        if isinstance(user_ids, str) or unknown not in ("error", "popularity"):
            raise ValueError(f"{user_ids=}, {unknown=}: pass a list of ids, and unknown as 'error' or 'popularity'")
        names = [as_text(user) for user in user_ids]
        users = [self._user[name] if unknown == "error" else self._user.get(name, -1) for name in names]
        offsets, items = self.tables["known_offsets"], self.tables["known_items"]
        target = self.tables.get("known_target", np.ones(len(items), bool))
        ranges = [slice(offsets[user], offsets[user + 1]) if user >= 0 else slice(0) for user in users]
        seen = [items[s][target[s]] if exclude_seen else items[:0] for s in ranges]
        columns = {name: [self.tables[f"known_{name}"][s] for s in ranges] for name in self._columns}
        return self._lists(users, [items[s] for s in ranges], seen, k, columns)

    def recommend_histories(
        self,
        histories: Sequence[Sequence[object]],
        k: int = 10,
        exclude_seen: bool = True,
        columns: Mapping[str, Sequence[Sequence[float]]] | None = None,
    ) -> list[list[tuple]]:
        """Return the k best items for each history of item ids; raise KeyError for an unknown item.

        The model reads the latest `about["history_length"]` entries.
        `columns` has what else is known of the entries, by name as above; those left out are unknown.
        """
        if wrong := [name for name in columns or {} if name not in self._columns]:
            raise ValueError(
                f"columns: {wrong[0]!r} is not read by this model; it reads {self._columns or 'items only'}"
            )
        lists = [np.array([self._item[as_text(item)] for item in history], np.int32) for history in histories]
        seen = [h if exclude_seen else h[:0] for h in lists]
        given = {
            name: [np.asarray(own) for own in (columns or {}).get(name, [[]] * len(lists))] for name in self._columns
        }
        return self._lists([-1] * len(lists), lists, seen, k, given)

    def _lists(
        self,
        users: list[int],
        histories: list[np.ndarray],
        seen: list[np.ndarray],
        k: int,
        columns: dict[str, list[np.ndarray]],
    ) -> list[list[tuple]]:
        if not 1 <= k <= self.about["k"]:
            raise ValueError(f"k={k}: this export supports k from 1 to {self.about['k']}; export again with a larger k")
        lists: list[list[tuple]] = []
        for start in range(0, len(users), ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            n = len(users[rows])
            # Shapes are rounded up to powers of two, so that few programs are compiled.
            b, x = (1 << max(size - 1, 0).bit_length() for size in (n, max(map(len, seen[rows]))))
            user_rows = np.full(b, -1, np.int32)
            user_rows[:n] = users[rows]
            length = self.about["history_length"]
            window: object = _padded(histories[rows], b, length)
            if self._columns:
                kinds = {name: np.float32 if name in ("gap", "value") else np.int32 for name in self._columns}
                empty = {name: np.nan if name == "value" else -1 for name in self._columns}
                own = {n: _padded(columns[n][rows], b, length, empty[n], kinds[n]) for n in self._columns}
                window = {"items": window, **own}
            items, scores = self.program(self.weights, user_rows, window, _padded(seen[rows], b, x))
            for row in range(n):
                best = zip(np.asarray(items)[row, :k], np.asarray(scores)[row, :k], strict=True)
                lists.append([(self.item_ids[i].item(), float(score)) for i, score in best if i >= 0])
        return lists


def as_text(value: object) -> str:
    """Return the canonical text of an id: 7, "7", 7.0 and "7.0" are equal; ValueError for a non-integer float."""
    if isinstance(value, bool | np.bool_):
        raise ValueError(f"{value} is not an id: ids are text or integers")
    if isinstance(value, float | np.floating):
        exact = 2.0 ** (np.finfo(type(value)).nmant + 1)
        if not abs(float(value)) < exact or value % 1:
            raise ValueError(f"{value} is not an id: pass it as an integer or as text")
        return str(int(value))
    text = str(value)
    if whole := re.fullmatch(r"(0|-?[1-9][0-9]*)\.0+", text):
        if abs(int(whole[1])) >= 2**53:
            raise ValueError(f"{text!r} is a float without exact digits: pass the id as an integer or as text")
        return whole[1]
    return text


def _padded(
    lists: list[np.ndarray], n_rows: int, length: int, padding: float = -1, kind: type = np.int32
) -> np.ndarray:
    """Return the latest `length` entries of each list, left-padded."""
    table: np.ndarray = np.full((n_rows, length), padding, kind)
    for row, entries in enumerate(lists):
        latest = entries[max(0, len(entries) - length) :]
        table[row, length - len(latest) :] = latest
    return table
