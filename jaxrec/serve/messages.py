"""What is asked and what is answered, as JSON: from these come the checks of requests and the API's description.

Ids are strings or integers; 7, "7", 7.0 and "7.0" are one id, as in the data.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

LONGEST_ID = 500  # characters
EXACT = 2**53  # floats from here on stand for several integers


def _id(value: Any) -> str | int:
    match value:
        case bool():
            pass
        case int() if value.bit_length() < 64:
            return value
        case float() if abs(value) < EXACT and value.is_integer():
            return int(value)
        case str() if len(value) <= LONGEST_ID:
            return value
    raise ValueError(f"must be an id: an integer of 64 bits, or a string of at most {LONGEST_ID} characters")


Id = Annotated[
    Any,
    AfterValidator(_id),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": LONGEST_ID}, {"type": "integer"}]}),
]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Message(BaseModel):
    """Keys that are not named are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Someone(Message):
    """A user, known by id or by a posted history; one of both."""

    user: Id | None = Field(None, description="a user; the history is what the run and later events say of them")
    history: list[Id] | None = Field(None, description="items, oldest first, of a user who need not be known")

    @model_validator(mode="after")
    def _one_of_both(self) -> "Someone":
        if (self.user is None) == (self.history is None):
            raise ValueError("give either user or history")
        return self


class RecommendRequest(Someone):
    """Whom to recommend to, and how."""

    k: int = Field(10, ge=1, description="items of the list")
    exclude_seen: bool = Field(True, description="leave out what is in the history")
    diversity: Share = Field(0.0, description="0: by score alone; 1: each item as unlike those before it as can be")
    freshness: Share = Field(0.0, description="0: age does not matter; 1: nothing else does")


class ExplainRequest(Someone):
    """Which items of the history speak for an item."""

    item: Id = Field(description="the item whose score is explained")
    top: int = Field(10, ge=1, le=100, description="so many items of the history, those that matter most")


class SimilarRequest(Message):
    """Items like an item."""

    item: Id
    k: int = Field(10, ge=1)


class ItemsRequest(Message):
    """Items by their title or id."""

    search: str = Field("", max_length=200, description="words, all of which occur in the title, or an id; '': popular")
    limit: int = Field(20, ge=1, le=100)


class HistoryRequest(Message):
    """What a user has had."""

    user: Id
    limit: int = Field(50, ge=1, le=1000, description="the latest so many")


class Event(Message):
    """A user has had an item."""

    user: Id
    item: Id


class EventsRequest(Message):
    """What happened, oldest first; all of it is taken, or nothing."""

    events: list[Event] = Field(min_length=1)


class Nothing(Message):
    """No parameters."""


class Item(Message):
    """An item of the catalog; what is not known of it is null or empty."""

    id: Id
    title: str | None
    categories: list[str]


class Recommended(Item):
    """An item of a list."""

    rank: int = Field(description="from 1")
    score: float = Field(description="the model's, before re-ranking; comparable within this list only")


class Recommendations(Message):
    """A list, best first; shorter than k where nothing is left."""

    items: list[Recommended]
    answered_by: str = Field(
        description="user: what was learned of this user; history: the items they had; popularity: nothing is known of "
        "them, or the model cannot use it, so these are the most chosen items"
    )
    unknown_items: list[Id] = Field(description="items of the history that the run does not know: they had no say")


class Similar(Item):
    """An item that is like another."""

    similarity: float


class SimilarItems(Message):
    """The most similar first."""

    item: Item
    items: list[Similar]
    by: str = Field(description="what similarity is here")


class Contribution(Item):
    """An item of the history."""

    contribution: float = Field(description="its part of the score; below 0 it speaks against the item")


class Explanation(Message):
    """Contributions, the largest first."""

    item: Item
    score: float | None = Field(description="what contributions are parts of")
    rest: float | None = Field(description="what of the score no item of the history has to do with, such as a bias")
    method: str = Field(
        description="exact: rest and the contributions of all items add up to the score; leave_one_out: by how much "
        "the score falls when one item is left out, which need not add up; none: this model cannot say"
    )
    reason: str = Field(description="how it was found, or why it cannot be")
    history: list[Contribution]
    unknown_items: list[Id]


class Items(Message):
    """Found items."""

    items: list[Item]


class UserHistory(Message):
    """A user's items, the latest first."""

    user: Id
    known: bool = Field(description="whether the run was trained with this user")
    since: int = Field(description="items of events since the server started, which are the first here")
    items: list[Item]


class Accepted(Message):
    """Events taken."""

    accepted: int


class About(Message):
    """What is served."""

    run: str
    model: str
    users: int
    items: int
    max_k: int
    max_history: int
    can: dict[str, str | None] = Field(description="diversity, freshness, new_users, explain: null, or why it cannot")
    examples: list[Id] = Field(description="some users")


class Health(Message):
    """Whether the server answers."""

    status: str = Field(description="ready, or stuck while a batch takes longer than it should")
    waiting: int


class Problem(Message):
    """Why there is no answer."""

    error: str
