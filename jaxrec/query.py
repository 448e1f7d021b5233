"""Model input: a batch of users with their histories at query time."""

from typing import NamedTuple

from jaxtyping import Array, Int

from jaxrec.history import History


class Query(NamedTuple):
    """Input of a model.

    Attributes:
        user: user ids, positions in the user table; -1 is a new user
        history: histories of length T for models with `history_length` T; None for other models
    """

    user: Int[Array, "B"]
    history: History | None = None
