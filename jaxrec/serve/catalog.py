"""Item catalog of the server: ids in requests, titles, categories, and title search."""

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.ids import as_text
from jaxrec.data.item_labels import Categories
from jaxrec.errors import InputError


class UnknownIdError(InputError):
    """Id of a user or item that is not in the run."""


class Ids:
    """Mapping between ids and positions; a string and a number with the same text are the same id, as in data files."""

    def __init__(self, kind: str, ids: np.ndarray) -> None:
        self.kind = kind
        self.values: list[str | int] = ids.tolist()  # Python numbers and strings, which JSON supports
        self._positions = {str(value): position for position, value in enumerate(self.values)}

    def __len__(self) -> int:
        return len(self.values)

    def find(self, value: object) -> int:
        """Return the position of an id, or -1."""
        return self._positions.get(self.key(value), -1)

    def key(self, value: object) -> str:
        """Return the canonical text of an id, known or unknown."""
        return as_text(value, self.kind) or ""

    def position(self, value: object) -> int:
        """Return the position of an id; raise UnknownIdError for an unknown id."""
        position = self.find(value)
        if position < 0:
            raise UnknownIdError(f"{self.kind} {value!r} is not in this run")
        return position


class Catalog:
    """Items of a run, with title search.

    Args:
        item_ids: ids by position.
        popular: interaction count of each item.
        titles: titles by position, empty for an item without one; None if the run has no titles.
        categories: categories of items; None if the run has none.
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
        # Words are matched in all items at once, in display order.
        self._order = np.argsort(-popular, kind="stable")
        names = [str(value) for value in self.ids.values] if titles is None else titles.tolist()
        self._names = pa.array([folded(names[position]) for position in self._order], pa.large_string())

    def __len__(self) -> int:
        return len(self.ids)

    def item(self, position: int) -> dict[str, object]:
        """Return id, title and categories of an item."""
        return {
            "id": self.ids.values[position],
            "title": None if self.titles is None else self.titles[position] or None,
            "categories": [] if self.categories is None else self.categories.of(position),
        }

    def search(self, text: str, limit: int) -> list[int]:
        """Return the most popular items whose titles contain all words, ignoring case and accents.

        An item whose id equals the text comes first.
        """
        matches = np.ones(len(self), bool)
        for word in folded(text).split():
            matches &= pc.match_substring(self._names, word).to_numpy(zero_copy_only=False)
        positions = self._order[np.flatnonzero(matches)[:limit]].tolist()
        try:
            exact = self.ids.find(text.strip())
        except InputError:  # the text is not an id
            exact = -1
        return positions if exact < 0 else [exact, *(p for p in positions if p != exact)][:limit]


def folded(text: str) -> str:
    """Return text without case and accents; unencodable characters become question marks."""
    plain = unicodedata.normalize("NFKD", text).encode("utf-8", "replace").decode()
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).casefold()
