"""What a model is asked with: what is known of a block of users at the moment they are asked about."""

from typing import NamedTuple

from jaxtyping import Array, Int


class Query(NamedTuple):
    """`user` [B] positions in the user table; `history` [B, T] latest items, oldest first, padded on the left with -1.

    `history` is there for models that state a `history_length`; T is that length.
    """

    user: Int[Array, "B"]
    history: Int[Array, "B T"] | None = None
