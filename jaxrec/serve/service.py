"""What the server answers, without a word of HTTP: messages in, plain values out."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import numpy as np

from jaxrec.errors import InputError
from jaxrec.recommend.batch_recommender import NEW
from jaxrec.recommend.item_similarity import Vectors, item_similarity
from jaxrec.recommend.recommender import Recommender
from jaxrec.serve.batching import Batcher
from jaxrec.serve.catalog import Catalog, Ids
from jaxrec.serve.explain import Explainer
from jaxrec.serve.limits import Limits
from jaxrec.serve.messages import (
    EventsRequest,
    ExplainRequest,
    HistoryRequest,
    ItemsRequest,
    Nothing,
    RecommendRequest,
    SimilarRequest,
    Someone,
)
from jaxrec.serve.programs import Listed, Programs, Row
from jaxrec.serve.similar import Neighbors
from jaxrec.serve.updates import Updates

STUCK = 30.0  # seconds for a batch after which something is wrong
EXAMPLES = 8  # users to try


class Service:
    """A trained run that answers; used from one event loop, as a context, once `warm` has compiled all programs.

    Every method raises InputError for what cannot be answered, UnknownIdError for an id that the run does not have, and
    OverloadedError where too much waits already.
    """

    def __init__(
        self, recommender: Recommender, catalog: Catalog, vectors: Vectors | None, limits: Limits, run: str
    ) -> None:
        self.recommender, self.catalog, self.limits, self.run = recommender, catalog, limits, run
        self.vectors = vectors  # None: nothing says which items are alike
        self.users = Ids("user", recommender.user_ids)
        self.updates = Updates(limits.users, limits.user_items)
        self.programs = Programs(recommender, vectors, limits)
        self.explainer = Explainer(recommender, self.programs.lengths)
        self.neighbors = Neighbors(recommender, self.programs)
        self.lists: Batcher[Row, Listed] = Batcher(
            self.programs, size=limits.batch_sizes[-1], window=limits.window_ms / 1000, queue=limits.queue
        )
        # What is asked for less often takes its turn one by one, within the same bound.
        self.aside: Batcher[Callable[[], Any], Any] = Batcher(_each, size=1, window=0.0, queue=limits.queue)
        self._stack = AsyncExitStack()

    @classmethod
    def of(cls, recommender: Recommender, limits: Limits, run: str) -> "Service":
        """Of a loaded run, with what it knows of its items."""
        known = recommender
        catalog = Catalog(known.item_ids, known.popular, known.titles, known.categories)
        offsets, items = known.known.masked(np.arange(len(known.user_ids)))
        users = np.repeat(np.arange(len(known.user_ids)), np.diff(offsets))
        return cls(recommender, catalog, item_similarity(recommender, (users, items)), limits, run)

    def warm(self) -> int:
        """Compiles every program, so that none is at request time; how many there are."""
        return self.programs.warm() + self.explainer.warm()

    async def __aenter__(self) -> "Service":
        await self._stack.enter_async_context(self.lists)
        await self._stack.enter_async_context(self.aside)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def recommend(self, request: RecommendRequest) -> dict[str, Any]:
        """A list for a user or a history."""
        k = self._k(request.k)
        for name, what in (("diversity", self.vectors), ("freshness", self.recommender.ages)):
            if getattr(request, name) and what is None:
                raise InputError(f"{name}: {self._can()[name]}")
        row, unknown = self._row(request)
        if not request.exclude_seen:
            row = row._replace(hidden=row.hidden[:0])
        row = row._replace(k=k, diversity=request.diversity, freshness=request.freshness)
        listed = await self.lists.ask(row)
        item = self.catalog.item
        return {
            "items": [
                {**item(position), "rank": rank, "score": score}
                for rank, (position, score) in enumerate(zip(listed.items, listed.scores, strict=True), 1)
            ],
            "answered_by": ("history" if row.user == NEW else "user") if listed.by_model else "popularity",
            "unknown_items": unknown,
        }

    async def similar(self, request: SimilarRequest) -> dict[str, Any]:
        """Items like an item."""
        position, k = self.catalog.ids.position(request.item), self._k(request.k)
        found = await self.aside.ask(lambda: self.neighbors(position, k))
        item = self.catalog.item
        return {
            "item": item(position),
            "items": [{**item(other), "similarity": similarity} for other, similarity in found],
            "by": self.neighbors.by,
        }

    async def explain(self, request: ExplainRequest) -> dict[str, Any]:
        """Which items of a history speak for an item."""
        position = self.catalog.ids.position(request.item)
        row, unknown = self._row(request)
        found = await self.aside.ask(lambda: self.explainer(row.user, row.history, position))
        item = self.catalog.item
        return {
            "item": item(position),
            "score": found.score,
            "rest": found.rest,
            "method": found.method,
            "reason": found.reason,
            "history": [
                {**item(other), "contribution": contribution} for other, contribution in found.parts[: request.top]
            ],
            "unknown_items": unknown,
        }

    async def items(self, request: ItemsRequest) -> dict[str, Any]:
        """Items by title or id."""
        found = await self.aside.ask(lambda: self.catalog.search(request.search, request.limit))
        return {"items": [self.catalog.item(position) for position in found]}

    async def history(self, request: HistoryRequest) -> dict[str, Any]:
        """What a user has had, the latest first."""
        position, updates = self.users.find(request.user), self.updates.of(self.users.key(request.user))
        if position < 0 and not updates:
            self.users.position(request.user)
        had = np.concatenate([self._known(position), np.array(updates, np.int32)])[::-1]
        return {
            "user": request.user,
            "known": position >= 0,
            "since": len(updates),
            "items": [self.catalog.item(int(item)) for item in had[: request.limit]],
        }

    async def events(self, request: EventsRequest) -> dict[str, Any]:
        """Takes what users have had; the next list knows it."""
        self._check_length("events", request.events)
        items = [self.catalog.ids.find(event.item) for event in request.events]
        if -1 in items:
            at = items.index(-1)
            raise InputError(f"events.{at}.item: there is no item {request.events[at].item!r}; no event was taken")
        users = [self.users.key(event.user) for event in request.events]
        for user, item in zip(users, items, strict=True):
            self.updates.add(user, [item])
        return {"accepted": len(items)}

    async def about(self, request: Nothing) -> dict[str, Any]:
        """What is served, and what it can do."""
        lengths = np.diff(self.recommender.known.offsets)
        busy = np.argsort(-lengths, kind="stable")[: max(EXAMPLES, len(lengths) // 2)]  # users with a history to show
        some = busy[np.linspace(0, max(len(busy) - 1, 0), min(EXAMPLES, len(busy)), dtype=int)]
        return {
            "run": self.run,
            "model": type(self.recommender.model).__name__,
            "users": len(self.users),
            "items": len(self.catalog),
            "max_k": self.programs.max_k,
            "max_history": self.limits.max_history,
            "can": self._can(),
            "examples": [self.users.values[user] for user in some],
        }

    async def health(self, request: Nothing) -> dict[str, Any]:
        """Whether batches are being answered."""
        stuck = max(self.lists.busy_for, self.aside.busy_for) > STUCK
        return {"status": "stuck" if stuck else "ready", "waiting": self.lists.waiting + self.aside.waiting}

    def _row(self, request: Someone) -> tuple[Row, list[Any]]:
        """Who asks, and which items of their history the run does not know."""
        if request.history is not None:
            self._check_length("history", request.history)
            found = np.array([self.catalog.ids.find(item) for item in request.history], np.int32)
            unknown = [item for item, position in zip(request.history, found, strict=True) if position < 0]
            return Row(NEW, found[found >= 0], found[found >= 0]), unknown
        position, updates = self.users.find(request.user), self.updates.of(self.users.key(request.user))
        history, hidden = self._known(position), self._known(position, masked=True)
        if updates:
            new = np.array(updates, np.int32)
            history, hidden = np.concatenate([history, new]), np.concatenate([hidden, new])
        return Row(self._asked(position, bool(updates)), history, hidden), []

    def _asked(self, position: int, updated: bool) -> int:
        """As whom the model is asked: a vector that was learned of a user knows nothing of what they did since."""
        reads = self.recommender.model.history_length
        return NEW if updated and not reads and self.recommender.knows_new_users else position

    def _known(self, user: int, masked: bool = False) -> np.ndarray:
        """What the run knows of a user; nothing of one it does not know."""
        known = self.recommender.known
        if user < 0:
            return np.zeros(0, np.int32)
        own = slice(known.offsets[user], known.offsets[user + 1])
        items = known.items[own]
        return items[known.target[own]] if masked and known.target is not None else items

    def _k(self, k: int) -> int:
        if k > self.programs.max_k:
            raise InputError(f"k: must be at most {self.programs.max_k}, not {k}")
        return k

    def _check_length(self, name: str, entries: Sequence[Any]) -> None:
        if len(entries) > self.limits.max_history:
            raise InputError(f"{name}: must have at most {self.limits.max_history} entries, not {len(entries)}")

    def _can(self) -> dict[str, str | None]:
        """Of what not every run can do: why this one cannot."""
        model = type(self.recommender.model).__name__
        return {
            "diversity": None if self.vectors is not None else "nothing says which items of this run are alike",
            "freshness": None if self.recommender.ages is not None else "the data of this run has no times",
            "new_users": None if self.recommender.knows_new_users else f"{model} knows users by their id alone",
            "explain": self.explainer.why_not,
        }


def _each(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    return [call() for call in calls]
