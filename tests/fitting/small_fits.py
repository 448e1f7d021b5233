"""Data, model, objectives and populations of small gradient fits."""

import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.objective import SampledObjective
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.losses import bce, bpr
from jaxrec.models.mf import MatrixFactorization
from jaxrec.negatives.uniform import Uniform

USERS, ITEMS, N, BATCH, RATIO, WIDTH = 6, 9, 22, 8, 3, 4  # batches of 8, 8 and 6
MODEL = MatrixFactorization(USERS, ITEMS, WIDTH, init_std=1.0)
OBJECTIVE = SampledObjective(bpr, Uniform(RATIO))
# For comparisons within a tolerance: the gradient of a user bias under BPR is only rounding, which Adam scales up.
LABELED = SampledObjective(bce, Uniform(RATIO))
WEIGHT = np.random.default_rng(1).uniform(0.2, 3, N).astype(np.float32)


def train(weight: np.ndarray | None = None) -> Interactions:
    user, item = np.random.default_rng(0).integers(0, [[USERS], [ITEMS]], (2, N)).astype(np.int32)
    user[:USERS] = np.arange(USERS)
    return Interactions(user, item, None, None, None, np.arange(USERS), np.arange(ITEMS), weight=weight)


def population(
    n: int = 2, rate: tuple = (0.5,), decay: tuple | None = (0.01,), penalty: tuple = (0.02,), **whole
) -> Population:
    """Population with seeds 3, 4, …; each value is repeated for members without one of their own."""
    real = {"optimizer.learning_rate": rate, "optimizer.weight_decay": decay, "model.regularization": penalty}
    sizes = {"model.width": whole.get("width", WIDTH), "negatives.n_negatives": whole.get("used", RATIO)}
    numbers = {key: np.resize(np.array(x, np.float32), n) for key, x in real.items() if x is not None}
    return Population(
        np.arange(3, 3 + n), Hyper(numbers | {key: np.resize(np.array(x, np.int32), n) for key, x in sizes.items()})
    )
