"""V-SKNN: nearest neighbors of sessions, in which late items of the current session weigh more.

    score(s, i) = sum of sim(s, n) * w(latest item of s that is in n) over the k nearest sessions n that contain i
    sim(s, n)   = similarity of n and s, where an item of s has weight w

[Ludewig and Jannach 2018, Evaluation of session-based recommendation algorithms; without weights this is the SKNN of
Jannach and Ludewig 2017, When recurrent neural networks meet the neighborhood]
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrec.history import History
from jaxrec.models.user_knn import UserKNN, Voting
from jaxrec.query import Query

Weighting = Literal["same", "linear", "quadratic", "div"]


class SessionKNN(UserKNN):
    """User-based k-nearest neighbors whose similarities and votes depend on how late an item is in the history.

    For `split=sessions`, where a user is a session; with other splits, for users whose latest items matter most.

    Attributes:
        n_users, n_items, history_length, k, similarity, shrinkage, idf, n_neighbors: see `UserKNN`
        weighting: weight of the item s steps before the last of n in similarities. same: 1; linear: 1 - s / n;
            quadratic: (1 - s / n)^2; div: 1 / (1 + s)
        vote: weight of a neighbor, by the latest item that it has in common with the history; like `weighting`

    Fidelity: all sessions are compared, not a sample of the latest. An item that occurs twice counts where it occurred
    last. Similarities are those of `UserKNN`, so that long sessions are no neighbors of all others.
    """

    weighting: Weighting = "linear"
    vote: Weighting = "linear"

    def _voting(self, query: Query) -> Voting:
        """Weight of each neighbor, by the latest item in common."""
        assert query.history is not None
        votes = position_weights(query.history, self.n_items, self.vote)
        return lambda contains: jnp.max(jnp.where(contains, votes, 0.0), axis=1)

    def _known(self, query: Query) -> Float[Array, "B I"]:
        """Weight of each item in the queries, by its position."""
        assert query.history is not None
        return position_weights(query.history, self.n_items, self.weighting)


def position_weights(history: History, n_items: int, weighting: Weighting) -> Float[Array, "B I"]:
    """Weight of each item by its last position in a history; 0 for an item that is not in it."""
    n = jnp.sum(history.items >= 0, axis=1, keepdims=True)
    steps = jnp.arange(history.items.shape[1] - 1, -1, -1)[None, :]
    left = 1 - steps / jnp.maximum(n, 1)
    match weighting:
        case "same":
            weight = jnp.ones_like(left)
        case "linear":
            weight = left
        case "quadratic":
            weight = left**2
        case "div":
            weight = jnp.broadcast_to(1 / (1 + steps), left.shape)
    return history.largest(weight, n_items)
