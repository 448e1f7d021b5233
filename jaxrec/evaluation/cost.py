"""Cost of a model: number of parameters, and time to rank the catalog for a batch of users."""

import math
import time

import jax
import numpy as np

from jaxrec.data.features import Encoded
from jaxrec.data.interactions import Interactions
from jaxrec.features import tables, with_tables
from jaxrec.hyper import Hyper
from jaxrec.models.model import Model, Params, parameter_shapes
from jaxrec.ranking import QueryRows, Ranker

N_USERS, N_ITEMS = 256, 10  # lists of one measurement, and their length
REPEATS = 10


def n_parameters(model: Model, encoded: Encoded | None = None) -> int:
    """Return the number of parameters of a model on its data, which determines the size of its file."""
    shapes = parameter_shapes(with_tables(model, tables(model, encoded)))
    return sum(math.prod(shape) for shape in shapes.values())


class Latency:
    """Milliseconds to list the best 10 items of 256 users: the fastest of 10 measurements.

    Measured on this machine with whatever else runs on it, so it differs from one measurement to the next.

    Args:
        model: the model.
        known: interactions of the users.
    """

    def __init__(self, model: Model, known: Interactions) -> None:
        users = np.arange(min(N_USERS, known.n_users))
        rows = QueryRows.for_users(users, known.histories, known.encoded)
        self._ranker = Ranker(model, rows, min(N_ITEMS, known.n_items))

    def __call__(self, params: Params, hyper: Hyper) -> float:
        """Measure for parameters and hyperparameters of one member."""
        one = jax.device_put(jax.tree.map(lambda x: np.asarray(x)[None], (params, hyper)))
        jax.block_until_ready(self._ranker(*one))  # compiles
        seconds = math.inf
        for _ in range(REPEATS):
            started = time.perf_counter()
            jax.block_until_ready(self._ranker(*one))
            seconds = min(seconds, time.perf_counter() - started)
        return 1000 * seconds
