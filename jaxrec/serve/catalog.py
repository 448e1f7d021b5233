"""Ids of people and items as they come over the wire, and what can be said of an item: its title and its categories."""

import unicodedata
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.ids import as_text
from jaxrec.data.item_labels import Categories
from jaxrec.errors import InputError


class UnknownIdError(InputError):
    """No user or item of this run has the id."""


class Ids:
    """Ids ↔ positions. Strings and numbers that are written alike are one id, as in the files that runs are made of."""

    def __init__(self, kind: str, ids: np.ndarray) -> None:
        self.kind = kind
        self.values: list[Any] = ids.tolist()  # Python's own numbers and strings, which JSON takes
        self._positions = {str(value): position for position, value in enumerate(self.values)}

    def __len__(self) -> int:
        return len(self.values)

    def find(self, value: Any) -> int:
        """The position, or -1."""
        return self._positions.get(self.key(value), -1)

    def key(self, value: Any) -> str:
        """The one text of an id, known or not."""
        return as_text(value, self.kind) or ""

    def position(self, value: Any) -> int:
        """The position; an UnknownIdError if there is none."""
        position = self.find(value)
        if position < 0:
            raise UnknownIdError(f"there is no {self.kind} {value!r} in this run")
        return position


class Catalog:
    """Items of a run.

    titles:     by position, empty where an item has none; None where the run has none
    categories: None where the run has none
    popular:    how often each was chosen
    """

    def __init__(
        self,
        item_ids: np.ndarray,
        popular: np.ndarray,
        titles: np.ndarray | None = None,
        categories: Categories | None = None,
    ) -> None:
        self.ids = Ids("item", item_ids)
        self.titles, self.categories = titles, categories
        # Words are looked for in all items at once, in the order in which they would be shown.
        self._order = np.argsort(-popular, kind="stable")
        names = [str(value) for value in self.ids.values] if titles is None else titles.tolist()
        self._names = pa.array([folded(names[position]) for position in self._order], pa.large_string())

    def __len__(self) -> int:
        return len(self.ids)

    def item(self, position: int) -> dict[str, Any]:
        """What is known of an item."""
        return {
            "id": self.ids.values[position],
            "title": None if self.titles is None else self.titles[position] or None,
            "categories": [] if self.categories is None else self.categories.of(position),
        }

    def search(self, text: str, limit: int) -> list[int]:
        """The most chosen items with all of these words in their title, whatever case and accents.

        An item of exactly this id comes first.
        """
        found = np.ones(len(self), bool)
        for word in folded(text).split():
            found &= pc.match_substring(self._names, word).to_numpy(zero_copy_only=False)
        positions = self._order[np.flatnonzero(found)[:limit]].tolist()
        try:
            exact = self.ids.find(text.strip())
        except InputError:  # words, then, and no id
            exact = -1
        return positions if exact < 0 else [exact, *(p for p in positions if p != exact)][:limit]


def folded(text: str) -> str:
    """Without case and accents; what no encoding can write becomes a question mark."""
    plain = unicodedata.normalize("NFKD", text).encode("utf-8", "replace").decode()
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).casefold()
