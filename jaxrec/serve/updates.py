"""In-memory store of user events since training, with bounded size; lost when the server stops."""

from collections import OrderedDict, deque
from collections.abc import Iterable


class Updates:
    """Latest items of each user, oldest first; used from one thread.

    Memory: at most about 100 bytes per item, for max_users x max_items items.

    Args:
        max_users: maximum number of users; beyond it, the least recently used user is evicted.
        max_items: maximum number of items per user; beyond it, the oldest item is dropped.
    """

    def __init__(self, max_users: int, max_items: int) -> None:
        self.max_users, self.max_items = max_users, max_items
        self.evicted = 0  # evicted users
        self._items: OrderedDict[str, deque[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, user: str, items: Iterable[int]) -> None:
        """Append items to the history of a user."""
        self._items.setdefault(user, deque(maxlen=self.max_items)).extend(items)
        self._items.move_to_end(user)
        if len(self._items) > self.max_users:
            self._items.popitem(last=False)
            self.evicted += 1

    def of(self, user: str) -> tuple[int, ...]:
        """Return the stored items of a user; empty for an unknown user."""
        if user not in self._items:
            return ()
        self._items.move_to_end(user)
        return tuple(self._items[user])
