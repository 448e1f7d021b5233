"""What a model is asked with: what is known of a block of users at the moment they are asked about."""

from typing import NamedTuple

from jaxtyping import Array, Int

from jaxrec.history import History


class Query(NamedTuple):
    """`user` [B] positions in the user table; `history` of length T for models that state a `history_length` T."""

    user: Int[Array, "B"]
    history: History | None = None
