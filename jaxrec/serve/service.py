"""Service logic, independent of HTTP: request messages in, plain values out."""

import math
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TypeVar, cast

import numpy as np

from jaxrec.data.histories import NO_TIME
from jaxrec.data.reading.anonymous import is_anonymous_text
from jaxrec.errors import InputError
from jaxrec.recommend.batch_recommender import NEW
from jaxrec.recommend.history_columns import check_order, codes, described, entries
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
    NoParameters,
    RecommendRequest,
    SimilarRequest,
    UserOrHistory,
)
from jaxrec.serve.programs import Programs, RankedList, Row
from jaxrec.serve.similar import Neighbors
from jaxrec.serve.updates import Details, Updates

T = TypeVar("T")

STUCK = 30.0  # seconds after which a running batch counts as stuck
EXAMPLES = 8  # example users


class Service:
    """Service of a trained run; used from one event loop, as an async context manager, after `warm`.

    Every endpoint method raises InputError for an invalid request, UnknownIdError for an unknown id, and
    OverloadedError if the queue is full.
    """

    def __init__(
        self, recommender: Recommender, catalog: Catalog, vectors: Vectors | None, limits: Limits, run: str
    ) -> None:
        self.recommender, self.catalog, self.limits, self.run = recommender, catalog, limits, run
        self.vectors = vectors  # None: no item similarity is available
        self.users = Ids("user", recommender.user_ids)
        self.updates = Updates(
            limits.users, limits.user_items, limits.event_mib << 20, detailed=bool(recommender.model.history_columns)
        )
        self.programs = Programs(recommender, vectors, limits)
        self.explainer = Explainer(recommender, self.programs.lengths)
        self.neighbors = Neighbors(recommender, self.programs)
        self.lists: Batcher[Row, RankedList] = Batcher(
            self.programs, size=limits.batch_sizes[-1], window=limits.window_ms / 1000, queue=limits.queue
        )
        # Less frequent requests are processed one by one, with the same queue limit.
        self.single: Batcher[Callable[[], object], object] = Batcher(_each, size=1, window=0.0, queue=limits.queue)
        self._stack = AsyncExitStack()

    @classmethod
    def of(cls, recommender: Recommender, limits: Limits, run: str) -> "Service":
        """Build the service of a loaded run."""
        catalog = Catalog(recommender.item_ids, recommender.popular, recommender.titles, recommender.categories)
        n_users = len(recommender.user_ids)
        offsets, items = recommender.known.masked(np.arange(n_users))
        users = np.repeat(np.arange(n_users), np.diff(offsets))
        return cls(recommender, catalog, item_similarity(recommender, (users, items)), limits, run)

    def warm(self) -> int:
        """Compile every program before the first request; return their number."""
        return self.programs.warm() + self.explainer.warm()

    async def __aenter__(self) -> "Service":
        await self._stack.enter_async_context(self.lists)
        await self._stack.enter_async_context(self.single)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def recommend(self, request: RecommendRequest) -> dict[str, object]:
        """Recommend items for a user or a history."""
        k = self._k(request.k)
        for name, values in (("diversity", self.vectors), ("freshness", self.recommender.ages)):
            if getattr(request, name) and values is None:
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

    async def similar(self, request: SimilarRequest) -> dict[str, object]:
        """Find items similar to an item."""
        position, k = self.catalog.ids.position(request.item), self._k(request.k)
        neighbors = await self._alone(lambda: self.neighbors(position, k))
        item = self.catalog.item
        return {
            "item": item(position),
            "items": [{**item(other), "similarity": similarity} for other, similarity in neighbors],
            "by": self.neighbors.by,
        }

    async def explain(self, request: ExplainRequest) -> dict[str, object]:
        """Explain an item's score by the items of the history."""
        position = self.catalog.ids.position(request.item)
        row, unknown = self._row(request)
        explained = await self._alone(lambda: self.explainer(row.user, row.history, position, row.columns))
        item = self.catalog.item
        return {
            "item": item(position),
            "score": explained.score,
            "rest": explained.rest,
            "method": explained.method,
            "reason": explained.reason,
            "history": [
                {**item(other), "contribution": contribution} for other, contribution in explained.parts[: request.top]
            ],
            "unknown_items": unknown,
        }

    async def items(self, request: ItemsRequest) -> dict[str, object]:
        """Search items by title or id."""
        positions = await self._alone(lambda: self.catalog.search(request.search, request.limit))
        return {"items": [self.catalog.item(position) for position in positions]}

    async def history(self, request: HistoryRequest) -> dict[str, object]:
        """Return the history of a user, latest first."""
        position, updates = self.users.find(request.user), self.updates.of(self.users.key(request.user))
        if position < 0 and not updates:
            self.users.position(request.user)
        history = np.concatenate([self._known(position), np.array(updates, np.int32)])[::-1]
        return {
            "user": request.user,
            "known": position >= 0,
            "since": len(updates),
            "items": [self.catalog.item(int(item)) for item in history[: request.limit]],
        }

    async def events(self, request: EventsRequest) -> dict[str, object]:
        """Store interactions of users; later lists take them into account."""
        self._check_length("events", request.events)
        items = [self.catalog.ids.find(event.item) for event in request.events]
        if -1 in items:
            at = items.index(-1)
            raise InputError(
                f"events.{at}.item: item {request.events[at].item!r} is not in this run; no event was stored"
            )
        users = [self.users.key(event.user) for event in request.events]
        for at, user in enumerate(users):
            if is_anonymous_text(user) and self.users.find(user) < 0:  # all visitors would share one history
                raise InputError(
                    f"events.{at}.user: {user!r} stands for a missing user: send an id for each visitor, or "
                    "their items as history to /recommend; no event was stored"
                )
        types = self._codes([event.event_type for event in request.events], "events")
        for user, item, code, event in zip(users, items, types, request.events, strict=True):
            value = math.nan if event.value is None else event.value
            self.updates.add(user, [item], Details(int(code), milliseconds(event.time), value))
        return {"accepted": len(items)}

    async def about(self, request: NoParameters) -> dict[str, object]:
        """Describe the served run and its capabilities."""
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

    async def health(self, request: NoParameters) -> dict[str, object]:
        """Report whether batches are being processed."""
        stuck = max(self.lists.busy_for, self.single.busy_for) > STUCK
        return {"status": "stuck" if stuck else "ready", "waiting": self.lists.waiting + self.single.waiting}

    async def _alone(self, call: Callable[[], T]) -> T:
        """Return the result of a call that is not batched with others."""
        return cast(T, await self.single.ask(call))

    def _row(self, request: UserOrHistory) -> tuple[Row, list[str | int]]:
        """Return the row of a request, and the unknown items of its history."""
        if request.history is not None:
            self._check_length("history", request.history)
            positions = np.array([self.catalog.ids.find(item) for item in request.history], np.int32)
            unknown = [item for item, position in zip(request.history, positions, strict=True) if position < 0]
            kept = positions >= 0
            n = len(positions)
            event = self._codes(request.event_types or [None] * n, "event_types")
            time = np.array([milliseconds(time) for time in request.times or [None] * n], np.int64)
            value = np.array(request.values or [None] * n, np.float32)
            check_order(time, [n])
            own = described(np.array([0, kept.sum()]), positions[kept], event[kept], time[kept], value[kept])
            return Row(NEW, own.items, own.items, columns=entries(own, self._columns)), unknown
        key = self.users.key(request.user)
        position, updates = self.users.find(request.user), self.updates.of(key)
        history, hidden = self._known(position), self._known(position, masked=True)
        if updates:
            new = np.array(updates, np.int32)
            history, hidden = np.concatenate([history, new]), np.concatenate([hidden, new])
        columns = self._columns_of(position, history, self.updates.details(key)) if self._columns else {}
        return Row(self._query_user(position, bool(updates)), history, hidden, columns=columns), []

    @property
    def _columns(self) -> tuple[str, ...]:
        """Names of what the model reads of events besides items."""
        return self.recommender.model.history_columns

    def _codes(self, types: Sequence[str | None], where: str) -> np.ndarray:
        """Return codes of event types; a model that does not read them ignores them."""
        if "event" not in self._columns:
            return np.full(len(types), -1, np.int32)
        return codes(types, self.recommender.event_names, where)

    def _columns_of(self, user: int, history: np.ndarray, details: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the model reads of a known history and of later events, whose `Details` are given."""
        known = self.recommender.known
        own = slice(known.offsets[user], known.offsets[user + 1]) if user >= 0 else slice(0)
        n_known = len(history) - len(details)

        def joined(column: np.ndarray | None, later: np.ndarray, unknown: float) -> np.ndarray:
            before = np.full(n_known, unknown, later.dtype) if column is None or user < 0 else column[own]
            return np.concatenate([before, later])

        event = joined(known.event, details[:, 0].astype(np.int32), -1)
        time = joined(known.time, details[:, 1].astype(np.int64), NO_TIME)
        value = joined(known.value, details[:, 2].astype(np.float32), math.nan)
        return entries(described(np.array([0, len(history)]), history, event, time, value), self._columns)

    def _query_user(self, position: int, updated: bool) -> int:
        """Return the user to query: an updated user of an id-based model is folded in by history as `NEW`."""
        reads = self.recommender.model.history_length
        return NEW if updated and not reads and self.recommender.knows_new_users else position

    def _known(self, user: int, masked: bool = False) -> np.ndarray:
        """Return the history of a user in the run; empty for an unknown user."""
        known = self.recommender.known
        if user < 0:
            return np.zeros(0, np.int32)
        own = slice(known.offsets[user], known.offsets[user + 1])
        items = known.items[own]
        return items[known.target[own]] if masked and known.target is not None else items

    def _k(self, k: int) -> int:
        if k > self.programs.max_k:
            raise InputError(f"k: must be at most {self.programs.max_k}, got {k}")
        return k

    def _check_length(self, name: str, entries: Sequence[object]) -> None:
        if len(entries) > self.limits.max_history:
            raise InputError(f"{name}: must have at most {self.limits.max_history} entries, got {len(entries)}")

    def _can(self) -> dict[str, str | None]:
        """Return the optional capabilities: None if supported, else the reason."""
        model = type(self.recommender.model).__name__
        return {
            "diversity": None if self.vectors is not None else "no item similarity is available in this run",
            "freshness": None if self.recommender.ages is not None else "the data of this run has no timestamps",
            "new_users": None
            if self.recommender.knows_new_users
            else f"{model} only supports users of the training data",
            "explain": self.explainer.why_not,
        }


def milliseconds(time: datetime | None) -> int:
    """Return a time in milliseconds since 1970; without a zone it is UTC."""
    if time is None:
        return NO_TIME
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return int((aware - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def _each(calls: Sequence[Callable[[], T]]) -> list[T]:
    return [call() for call in calls]
