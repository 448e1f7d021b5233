"""Membership of items in users' item sets, one bit per user-item pair: 38 MiB for 22,000 users and 14,000 items.

If that is too large, sorted rows with binary search: 8 bytes per interaction, about 4 times slower look-ups.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt32

from jaxrec.data.interactions import Interactions, targets
from jaxrec.data.large_columns import gathered, sorted_rows
from jaxrec.errors import InputError
from jaxrec.ragged import Ragged, ragged

LIMIT_GIB = 4
BITS_MIB = 256  # above this, `known` uses sorted rows


class Membership(NamedTuple):
    """Bit matrix: bit i % 32 of `words[u, i // 32]` is set if user u has item i."""

    words: UInt32[Array, "U W"]

    def rows(self, users: Int[Array, "B"], n_items: int) -> Bool[Array, "B I"]:
        """Whether each user has each item of the catalog."""
        bits = self.words[users][:, :, None] >> jnp.arange(32, dtype=jnp.uint32)[None, None, :]
        return (bits & jnp.uint32(1)).astype(bool).reshape(users.shape[0], -1)[:, :n_items]

    def contains(self, users: Int[Array, "B"], items: Int[Array, "B N"]) -> Bool[Array, "B N"]:
        """Whether each user has the items in its row."""
        words = self.words[users[:, None], items // 32]
        return ((words >> (items % 32).astype(jnp.uint32)) & jnp.uint32(1)).astype(bool)


Known = Membership | Ragged  # both implement `contains`


def known(train: Interactions) -> Known:
    """Items of each user in train (targets only), as a bit matrix up to 256 MiB, otherwise as sorted rows."""
    if train.n_users * -(-train.n_items // 32) * 4 <= BITS_MIB * 2**20:
        return membership(targets(train))
    positives = targets(train)
    offsets, rows = sorted_rows(positives.user, train.n_users, positives.item)
    return ragged(offsets, gathered(positives.item, rows), owned=False)


def membership(interactions: Interactions) -> Membership:
    """Bit matrix of interactions. Raises an InputError if it would exceed 4 GiB."""
    n_words = -(-interactions.n_items // 32)
    if (gib := interactions.n_users * n_words * 4 / 2**30) > LIMIT_GIB:
        raise InputError(
            f"loss=softmax and model=user_knn need one bit per user-item pair, here {interactions.n_users:,} x "
            f"{interactions.n_items:,} ({gib:.0f} GiB, limit {LIMIT_GIB} GiB): use loss=sampled_softmax, or another "
            "model than user_knn"
        )
    words = np.zeros((interactions.n_users, n_words), np.uint32)
    word, bit = np.divmod(interactions.item, 32)
    np.bitwise_or.at(words, (interactions.user, word), np.uint32(1) << bit.astype(np.uint32))
    return Membership(jnp.asarray(words))
