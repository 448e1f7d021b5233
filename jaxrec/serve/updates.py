"""In-memory store of user events since training, with bounded size; lost when the server stops."""

import sys
from array import array
from collections import OrderedDict
from collections.abc import Iterable

OVERHEAD = 300  # bytes per user, of the array and of the entry of the table


class Updates:
    """Latest items of each user, oldest first; used from one thread.

    Beyond `max_users` or `max_bytes`, the least recently used users are evicted.

    Args:
        max_users: maximum number of users.
        max_items: maximum number of items per user; beyond it, the oldest item is dropped.
        max_bytes: maximum memory.

    Attributes:
        evicted: number of evicted users.
        bytes: memory in use, estimated from above.
    """

    def __init__(self, max_users: int, max_items: int, max_bytes: int) -> None:
        self.max_users, self.max_items, self.max_bytes = max_users, max_items, max_bytes
        self.evicted = self.bytes = 0
        self._items: OrderedDict[str, array[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, user: str, items: Iterable[int]) -> None:
        """Append items to the history of a user."""
        had = self._items.pop(user, None)
        if had is not None:
            self.bytes -= _size(user, had)
        latest = array("i", [*(had or ()), *items][-self.max_items :])
        self._items[user] = latest
        self.bytes += _size(user, latest)
        while len(self._items) > self.max_users or (self.bytes > self.max_bytes and len(self._items) > 1):
            self.bytes -= _size(*self._items.popitem(last=False))
            self.evicted += 1

    def of(self, user: str) -> tuple[int, ...]:
        """Return the stored items of a user; empty for an unknown user."""
        if user not in self._items:
            return ()
        self._items.move_to_end(user)
        return tuple(self._items[user])


def _size(user: str, items: "array[int]") -> int:
    return OVERHEAD + sys.getsizeof(user) + items.itemsize * len(items)
