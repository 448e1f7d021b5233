"""Hard negative mining: every few epochs the catalog is ranked for every user, and negatives are drawn from the top.

Items that the user has in train are masked. See `jaxrec.negatives.hard`.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.objective import Objective
from jaxrec.hyper import Hyper
from jaxrec.models.model import Model, Params
from jaxrec.negatives.hard import Hard
from jaxrec.ranking import QueryRows, Ranker


class Miner:
    """Mines negatives for the members in all slots with their current parameters."""

    def __init__(self, hard: Hard, model: Model, train: Interactions) -> None:
        self.hard, self._n_items = hard, train.n_items
        queries = QueryRows.for_users(np.arange(train.n_users), train.histories, train.encoded)
        self._ranker = Ranker(model, queries, hard.ranks[1], pool=hard.pool)

    def due(self, epoch: int) -> bool:
        """Whether mining is due before this epoch, counted from 1."""
        trained = epoch - 1 - self.hard.warmup
        return trained >= 0 and trained % self.hard.refresh == 0

    def __call__(
        self,
        epochs: Int[np.ndarray, "S"],
        seeds: Int[np.ndarray, "S"],
        params: Params,
        hyper: Hyper,
        due: Bool[np.ndarray, "S"],
    ) -> Int[Array, "S U M"]:
        """Mine for the slots that are due; -1 pads users with fewer unmasked items. Other slots are meaningless."""
        pools = None
        if self.hard.pool is not None:  # by each member's own seed and epoch, as if it were trained alone
            drawn = [np.random.default_rng([int(s), int(e)]) for s, e in zip(seeds, epochs, strict=True)]
            pools = np.stack([rng.permutation(self._n_items)[: self.hard.pool] for rng in drawn]).astype(np.int32)
        return self._ranker(params, hyper, pools, due).items[:, :, self.hard.ranks[0] - 1 :]


def nothing_mined(n_users: int, width: int) -> Int[Array, "U M"]:
    """A member's mined items before the first mining: -1 everywhere."""
    return jnp.full((n_users, width), -1, jnp.int32)


def mining_sampler(objective: Objective) -> Hard | None:
    """The sampler of an objective if it uses mined negatives, else None."""
    sampler = vars(objective).get("negatives")
    return sampler if isinstance(sampler, Hard) else None
