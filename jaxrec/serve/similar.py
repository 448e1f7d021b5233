"""Items like an item: by the model's vectors where it has some, else by what it recommends to who has had nothing else."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxrec.answers import NEW
from jaxrec.errors import InputError
from jaxrec.history import History
from jaxrec.query import Query
from jaxrec.recommend import Recommender
from jaxrec.serve.programs import Programs, Row

PROBES = 64  # users whose queries tell taste from bias


class Neighbours:
    """The nearest items of an item, itself left out.

    vectors: [I, D] of length 1, or None for a model without
    by:      what similarity is, in words
    """

    def __init__(self, recommender: Recommender, programs: Programs) -> None:
        self.recommender, self.programs = recommender, programs
        self.vectors = taste(recommender)
        self.by = "cosine of the model's item vectors"
        if self.vectors is None:
            self.by = "the model's score for someone who has had this item alone"

    def __call__(self, item: int, k: int) -> list[tuple[int, float]]:
        """The k nearest items and how near they are, the nearest first; fewer where nothing else is near."""
        if self.vectors is None:
            return self._by_history(item, k)
        similarity = self.vectors @ self.vectors[item]
        similarity[item] = -np.inf
        best = np.argsort(-similarity, kind="stable")[: min(k, len(similarity) - 1)]
        return [(int(other), float(similarity[other])) for other in best]

    def _by_history(self, item: int, k: int) -> list[tuple[int, float]]:
        name = type(self.recommender.model).__name__
        if not getattr(self.recommender.model, "history_length", 0):
            raise InputError(f"{name} has no vectors of items and reads no histories: it cannot say what is similar")
        alone = np.array([item], np.int32)
        (listed,) = self.programs([Row(NEW, alone, alone, k)])
        return [pair for pair in zip(listed.items, listed.scores, strict=True) if pair[1] > 0]


def taste(recommender: Recommender) -> Float[np.ndarray, "I D"] | None:
    """Item vectors of length 1 without their biases; None for a model without vectors.

    A bias is a column that meets the same number in every query, or is the same for all items: it says nothing of
    what an item is like.
    """
    model = recommender.whole
    if not hasattr(model, "item_vectors"):
        return None
    vectors: Any = np.asarray(model.apply(recommender.params, method="item_vectors"))
    users = np.arange(min(PROBES, len(recommender.user_ids)))
    length = getattr(model, "history_length", 0)
    history = History(jnp.asarray(recommender.histories(users, length), jnp.int32)) if length else None
    queries: Any = model.apply(recommender.params, Query(jnp.asarray(users, jnp.int32), history), method="query_vectors")
    varies = (np.ptp(np.asarray(queries), axis=0) > 0) & (np.ptp(vectors, axis=0) > 0)
    vectors = vectors[:, varies]
    length_of = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length_of > 0, length_of, 1.0)).astype(np.float32)


