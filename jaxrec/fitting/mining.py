"""Mining: every few epochs the whole catalog is scored for every user, and what ranks high is what negatives are
drawn from (`jaxrec.negatives.hard`); what the user has is masked.
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
    """Mines for every member of a population, from the parameters of the moment."""

    def __init__(self, hard: Hard, model: Model, train: Interactions, population: Population) -> None:
        self.hard, self.population, self._n_users, self._n_items = hard, population, train.n_users, train.n_items
        asked = QueryRows.about(np.arange(train.n_users), histories(train), train.encoded)
        self._ranker = Ranker(model, asked, hard.ranks[1], pool=hard.pool)

    def nothing(self) -> np.ndarray:
        """[P, U, ranks] of -1: nothing has been mined."""
        return np.full((self.population.size, self._n_users, self.hard.width), -1, np.int32)

    def due(self, epoch: int) -> bool:
        """Whether this epoch, counted from 1, begins with mining."""
        trained = epoch - 1 - self.hard.warmup
        return trained >= 0 and trained % self.hard.refresh == 0

    def __call__(self, epoch: int, params: Params) -> Int[Array, "P U M"]:
        """Parameters with a leading member axis → mined items; -1 where a user has fewer left."""
        pools = None
        if self.hard.pool is not None:  # of each member's own seed, so that it mines as it would alone
            drawn = [np.random.default_rng([int(seed), epoch]) for seed in self.population.seeds]
            pools = np.stack([rng.permutation(self._n_items)[: self.hard.pool] for rng in drawn]).astype(np.int32)
        return self._ranker(params, self.population.hyper, pools).items[:, :, self.hard.ranks[0] - 1 :]


def miner_of(objective: Objective, model: Model, train: Interactions, population: Population) -> Miner | None:
    """What mines for this objective; None where its sampler does not ask the model."""
    if isinstance(objective, SampledObjective) and isinstance(objective.negatives, Hard):
        return Miner(objective.negatives, model, train, population)
    return None
