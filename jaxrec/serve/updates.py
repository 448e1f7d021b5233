"""In-memory store of user events since training, with bounded size; lost when the server stops."""

import math
import sys
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxrec.data.histories import NO_TIME

OVERHEAD = 300  # bytes per user, of the array and of the entry of the table


class Details(NamedTuple):
    """Details of an event besides its item: code of the event type or -1, time in milliseconds, value or NaN."""

    event: int = -1
    time: int = NO_TIME
    value: float = math.nan


class Updates:
    """Latest items of each user, oldest first; used from one thread.

    Beyond `max_users` or `max_bytes`, the least recently used users are evicted.

    Args:
        max_users: maximum number of users.
        max_items: maximum number of items per user; beyond it, the oldest item is dropped.
        max_bytes: maximum memory.
        detailed: keep `Details` of events too.

    Attributes:
        evicted: number of evicted users.
        bytes: memory in use, estimated from above.
    """

    def __init__(self, max_users: int, max_items: int, max_bytes: int, detailed: bool = False) -> None:
        self.max_users, self.max_items, self.max_bytes = max_users, max_items, max_bytes
        self.evicted = self.bytes = 0
        self._items: OrderedDict[str, array[int]] = OrderedDict()
        self._details: dict[str, array[float]] | None = {} if detailed else None

    def __len__(self) -> int:
        return len(self._items)

    def add(self, user: str, items: Sequence[int], details: Details | None = None) -> None:
        """Append items to the history of a user, all with the same details."""
        had = self._items.pop(user, None)
        if had is not None:
            self.bytes -= self._size(user, had)
        latest = array("i", [*(had or ()), *items][-self.max_items :])
        self._items[user] = latest
        if self._details is not None:  # doubles hold every code and, for 285,000 years, every millisecond
            own = array("d", [*self._details.get(user, ()), *(details or Details()) * len(items)])
            self._details[user] = own[-len(Details._fields) * self.max_items :]
        self.bytes += self._size(user, latest)
        while len(self._items) > self.max_users or (self.bytes > self.max_bytes and len(self._items) > 1):
            oldest, had = self._items.popitem(last=False)
            self.bytes -= self._size(oldest, had)
            if self._details is not None:
                del self._details[oldest]
            self.evicted += 1

    def of(self, user: str) -> tuple[int, ...]:
        """Return the stored items of a user; empty for an unknown user."""
        if user not in self._items:
            return ()
        self._items.move_to_end(user)
        return tuple(self._items[user])

    def details(self, user: str) -> np.ndarray:
        """Return the details of the items of a user, [N, 3]."""
        own = (self._details or {}).get(user, array("d"))
        return np.array(own, np.float64).reshape(-1, len(Details._fields))

    def _size(self, user: str, items: "array[int]") -> int:
        each = items.itemsize + (0 if self._details is None else 8 * len(Details._fields))
        return (1 if self._details is None else 2) * OVERHEAD + sys.getsizeof(user) + each * len(items)
