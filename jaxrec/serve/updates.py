"""What users did since the run was trained: kept in memory, within bounds, and gone with the server."""

from collections import OrderedDict, deque
from collections.abc import Iterable


class Updates:
    """The latest items of each user, oldest first; used from one thread.

    max_users: one more, and the user who was updated or asked about least recently is forgotten
    max_items: one more of a user, and their oldest is forgotten

    Memory: about 100 bytes an item at most, max_users x max_items of them.
    """

    def __init__(self, max_users: int, max_items: int) -> None:
        self.max_users, self.max_items = max_users, max_items
        self.forgotten = 0  # users
        self._items: OrderedDict[str, deque[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, user: str, items: Iterable[int]) -> None:
        """The user has had these items, in this order."""
        self._items.setdefault(user, deque(maxlen=self.max_items)).extend(items)
        self._items.move_to_end(user)
        if len(self._items) > self.max_users:
            self._items.popitem(last=False)
            self.forgotten += 1

    def of(self, user: str) -> tuple[int, ...]:
        """What is kept of this user; nothing for one of whom there is nothing."""
        if user not in self._items:
            return ()
        self._items.move_to_end(user)
        return tuple(self._items[user])
