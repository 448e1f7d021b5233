"""Who has what, one bit a user and item: 38 MiB for 22,000 users and 14,000 items."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt32

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError

LIMIT_GIB = 4


class Membership(NamedTuple):
    """Bit i % 32 of `words[u, i // 32]` says whether user u has item i."""

    words: UInt32[Array, "U W"]

    def rows(self, users: Int[Array, "B"], n_items: int) -> Bool[Array, "B I"]:
        """For every item of the catalogue, whether each user has it."""
        bits = self.words[users][:, :, None] >> jnp.arange(32, dtype=jnp.uint32)[None, None, :]
        return (bits & jnp.uint32(1)).astype(bool).reshape(users.shape[0], -1)[:, :n_items]


def membership(interactions: Interactions) -> Membership:
    """The bits of these interactions; refused where they would take more than 4 GiB."""
    n_words = -(-interactions.n_items // 32)
    if (gib := interactions.n_users * n_words * 4 / 2**30) > LIMIT_GIB:
        raise InputError(
            f"loss=softmax and model=user_knn keep a bit a user and item, here {interactions.n_users:,} x "
            f"{interactions.n_items:,} or {gib:.0f} GiB; use loss=sampled_softmax, or another model than user_knn"
        )
    words = np.zeros((interactions.n_users, n_words), np.uint32)
    word, bit = np.divmod(interactions.item, 32)
    np.bitwise_or.at(words, (interactions.user, word), np.uint32(1) << bit.astype(np.uint32))
    return Membership(jnp.asarray(words))
