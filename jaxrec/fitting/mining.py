"""Hard negative mining: every few epochs the catalog is ranked for every user, and negatives are drawn from the top.

Items that the user has in train are masked. See `jaxrec.negatives.hard`.
"""

import numpy as np
from jaxtyping import Array, Int

from jaxrec.data.histories import histories
from jaxrec.data.interactions import Interactions
from jaxrec.fitting.objective import Objective, SampledObjective
from jaxrec.fitting.population import Population
from jaxrec.models.model import Model, Params
from jaxrec.negatives.hard import Hard
from jaxrec.ranking import QueryRows, Ranker


class Miner:
    """Mines negatives for every member of a population with the current parameters."""

    def __init__(self, hard: Hard, model: Model, train: Interactions, population: Population) -> None:
        self.hard, self.population, self._n_users, self._n_items = hard, population, train.n_users, train.n_items
        queries = QueryRows.about(np.arange(train.n_users), histories(train), train.encoded)
        self._ranker = Ranker(model, queries, hard.ranks[1], pool=hard.pool)

    def nothing(self) -> np.ndarray:
        """Mined items before the first mining: -1 everywhere, [P, U, ranks]."""
        return np.full((self.population.size, self._n_users, self.hard.width), -1, np.int32)

    def due(self, epoch: int) -> bool:
        """Whether mining is due before this epoch, counted from 1."""
        trained = epoch - 1 - self.hard.warmup
        return trained >= 0 and trained % self.hard.refresh == 0

    def __call__(self, epoch: int, params: Params) -> Int[Array, "P U M"]:
        """Mine with parameters that have a leading member axis; -1 pads users with fewer unmasked items."""
        pools = None
        if self.hard.pool is not None:  # by each member's own seed, as if it were trained alone
            drawn = [np.random.default_rng([int(seed), epoch]) for seed in self.population.seeds]
            pools = np.stack([rng.permutation(self._n_items)[: self.hard.pool] for rng in drawn]).astype(np.int32)
        return self._ranker(params, self.population.hyper, pools).items[:, :, self.hard.ranks[0] - 1 :]


def miner_of(objective: Objective, model: Model, train: Interactions, population: Population) -> Miner | None:
    """The miner of an objective; None if its sampler uses no mined negatives."""
    if isinstance(objective, SampledObjective) and isinstance(objective.negatives, Hard):
        return Miner(objective.negatives, model, train, population)
    return None
