"""JSON schemas of requests and responses, used for validation and for the OpenAPI description.

Ids are strings or integers; 7, "7", 7.0 and "7.0" are the same id, as in the data.
"""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from jaxrec.data.reading.times import milliseconds
from jaxrec.errors import InputError

MAX_ID_LENGTH = 500  # characters
EXACT = 2**53  # larger floats do not identify a single integer


def _id(value: object) -> str | int:
    match value:
        case bool():
            pass
        case int() if value.bit_length() < 64:
            return value
        case float() if abs(value) < EXACT and value.is_integer():
            return int(value)
        case str() if len(value) <= MAX_ID_LENGTH:
            return value
    raise ValueError(f"must be an id: a 64-bit integer, or a string of at most {MAX_ID_LENGTH} characters")


def _time(value: object) -> datetime:
    match value:
        case str():
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(value)
        case int() | float() if not isinstance(value, bool):
            with contextlib.suppress(InputError, OverflowError):
                (time,) = milliseconds(pa.chunked_array([[value]]), str).tolist()  # a number as in data files
                return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time)
    raise ValueError("must be a time: ISO 8601, or a number of seconds since 1970")


Id = Annotated[
    str | int,
    PlainValidator(_id),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": MAX_ID_LENGTH}, {"type": "integer"}]}),
]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
LARGEST = float(np.finfo(np.float32).max)
Value = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]  # models read 32 bits


class Message(BaseModel):
    """Base class of messages; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Time = Annotated[
    datetime,
    PlainValidator(_time),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}],
            "description": "ISO 8601, or a number of seconds since 1970; UTC",
        }
    ),
]


class UserOrHistory(Message):
    """A user, given either by id or by a history."""

    user: Id | None = Field(None, description="user id; the history is that of the run plus later events")
    history: list[Id] | None = Field(None, description="item ids, oldest first, of a new or anonymous user")
    event_types: list[str | None] | None = Field(None, description="of each item of the history, if the model reads it")
    times: list[Time | None] | None = Field(None, description="the same")
    values: list[Value | None] | None = Field(None, description="the same, rating or quantity")

    @model_validator(mode="after")
    def _one_of_both(self) -> "UserOrHistory":
        if (self.user is None) == (self.history is None):
            raise ValueError("set exactly one of user and history")
        for name in ("event_types", "times", "values"):
            given = getattr(self, name)
            if given is not None and (self.history is None or len(given) != len(self.history)):
                raise ValueError(f"{name} must have one entry for each item of history")
        return self


class RecommendRequest(UserOrHistory):
    """User or history, and options of the list."""

    k: int = Field(10, ge=1, description="list length")
    exclude_seen: bool = Field(True, description="filter the items of the history")
    diversity: Share = Field(0.0, description="0: by score only; 1: maximally diverse")
    freshness: Share = Field(0.0, description="0: ignore item age; 1: by item age only")


class ExplainRequest(UserOrHistory):
    """Item whose score is to be explained by the history."""

    item: Id = Field(description="the item whose score is explained")
    top: int = Field(10, ge=1, le=100, description="number of history items to return, largest contribution first")


class SimilarRequest(Message):
    """Item whose nearest neighbors are requested."""

    item: Id
    k: int = Field(10, ge=1)


class ItemsRequest(Message):
    """Search for items by title or id."""

    search: str = Field(
        "", max_length=200, description="words that all occur in the title, or an id; empty: the most popular items"
    )
    limit: int = Field(20, ge=1, le=100)


class HistoryRequest(Message):
    """User whose history is requested."""

    user: Id
    limit: int = Field(50, ge=1, le=1000, description="maximum number of items, latest first")


class Event(Message):
    """An interaction of a user with an item; the optional fields count for models that read them."""

    user: Id
    item: Id
    event_type: str | None = None
    time: Time | None = None
    value: Value | None = Field(None, description="rating or quantity")


class EventsRequest(Message):
    """Interactions, oldest first; all of them are stored or none."""

    events: list[Event] = Field(min_length=1)


class NoParameters(Message):
    """No parameters."""


class Item(Message):
    """An item of the catalog; unknown fields are null or empty."""

    id: Id
    title: str | None
    categories: list[str]


class Recommended(Item):
    """An item of a recommendation list."""

    rank: int = Field(description="from 1")
    score: float = Field(description="model score before re-ranking; comparable only within this list")


class Recommendations(Message):
    """Recommendation list, best first; shorter than k if no items are left."""

    items: list[Recommended]
    answered_by: str = Field(
        description="source of the list. user: the model, by user id; history: the model, by the history; popularity: "
        "the most popular items, because the model cannot score this user"
    )
    unknown_items: list[Id] = Field(description="items of the history that are not in the run and were ignored")


class Similar(Item):
    """An item and its similarity to the requested one."""

    similarity: float


class SimilarItems(Message):
    """Similar items, most similar first."""

    item: Item
    items: list[Similar]
    by: str = Field(description="similarity measure")


class Contribution(Item):
    """An item of the history and its contribution."""

    contribution: float = Field(description="its part of the score; negative values lower the score")


class Explanation(Message):
    """Explanation of a score: contributions of history items, largest first."""

    item: Item
    score: float | None = Field(description="the score that is explained")
    rest: float | None = Field(description="part of the score that does not depend on the history, e.g. a bias")
    method: str = Field(
        description="exact: rest plus all contributions equal the score; leave_one_out: decrease of the score when an "
        "item is left out, which need not add up; none: this model cannot be explained"
    )
    reason: str = Field(description="how the contributions were computed, or why they cannot be")
    history: list[Contribution]
    unknown_items: list[Id]


class Items(Message):
    """Items that match a search."""

    items: list[Item]


class UserHistory(Message):
    """History of a user, latest first."""

    user: Id
    known: bool = Field(description="whether the user is in the run's data")
    since: int = Field(description="number of items, first in the list, from events since the server started")
    items: list[Item]


class Accepted(Message):
    """Number of stored events."""

    accepted: int


class About(Message):
    """Description of the served run."""

    run: str
    model: str
    users: int
    items: int
    max_k: int
    max_history: int
    can: dict[str, str | None] = Field(
        description="diversity, freshness, new_users, explain: null if supported, else the reason"
    )
    examples: list[Id] = Field(description="example user ids")


class Health(Message):
    """Health of the server."""

    status: str = Field(description="ready, or stuck while a batch takes too long")
    waiting: int


class Problem(Message):
    """Error message."""

    error: str
