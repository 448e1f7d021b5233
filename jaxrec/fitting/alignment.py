"""DirectAU: alignment of users with their items, and uniformity of both on the unit sphere; no negatives.

[Wang et al. 2022, Towards representation alignment and uniformity in collaborative filtering]
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from pydantic import NonNegativeFloat

from jaxrec.arguments import compares_cosines
from jaxrec.data.interactions import Interactions
from jaxrec.fitting.example_histories import Which
from jaxrec.fitting.objective import Costs, Objective, Pairs, learnable, pairs
from jaxrec.hyper import Traced
from jaxrec.mesh import places_in_batch, sum_over_batch, whole_batch
from jaxrec.models.model import Factorized, FactorizedByRow, Model, Params
from jaxrec.random import RandomStream


@compares_cosines
@dataclass(frozen=True)
class AlignmentAndUniformity(Objective):
    """|x_u - y_i|^2 + gamma (l(x) + l(y)) / 2, with l(x) = log mean exp(-2 |x - x'|^2) over the pairs of a batch.

    x_u and y_i are user and item vectors of norm 1.

    Attributes:
        gamma: weight of the uniformity
        history: which entries a model that reads histories gets, see `ExampleHistories`

    Memory: batch_size^2 floats, three times.
    """

    gamma: NonNegativeFloat | Traced = 1.0
    history: Which = "others"

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[Pairs, int]:
        """Users, items and weights of the interactions, and their histories."""
        return pairs(learnable(train, history_length), history_length)

    def costs(
        self,
        model: Model,
        params: Params,
        examples: Pairs,
        rows: Int[Array, "B"],
        source: RandomStream,
        penalized: bool,
    ) -> Costs:
        """Cost and weight of each interaction; the uniformity of the batch is part of every cost."""
        assert isinstance(model, Factorized)
        bound, item = model.bind(params), examples.item[rows]
        query = examples.query(rows, model.history_length, self.history)
        x = bound.query_vectors(query)
        y = bound.vectors_of(item) if isinstance(bound, FactorizedByRow) else bound.item_vectors()[item]
        # A short batch is padded by repeating its last example.
        every = whole_batch(rows)
        real = jnp.concatenate([jnp.ones(1, bool), every[1:] != every[:-1]])
        spread = (uniformity(x, real) + uniformity(y, real)) / 2
        cost = jnp.sum((x - y) ** 2, axis=1) + self.gamma * spread
        if penalized:
            of_user, of_item = bound.penalty(query)
            cost = cost + of_user + of_item[item]
        return examples.weighted(cost, rows)


def uniformity(x: Float[Array, "B D"], real: Bool[Array, "N"]) -> Float[Array, ""]:
    """Log of the mean over pairs of unit vectors of exp(-2 |x - x'|^2); 0 without a pair.

    Args:
        x: vectors of the examples on this device.
        real: whether each example of the whole batch counts.
    """
    closeness = jnp.exp(4 * (x @ whole_batch(x).T) - 4)  # |x - x'|^2 = 2 - 2 <x, x'>
    own, other = places_in_batch(x.shape[0])[:, None], jnp.arange(real.shape[0], dtype=jnp.int32)[None, :]
    pair = (real[own] & real[None, :] & (own != other)).astype(x.dtype)
    n, total = sum_over_batch((jnp.sum(pair), jnp.sum(closeness * pair)))
    return jnp.log(jnp.where(n > 0, total, 1) / jnp.maximum(n, 1))
