"""Similar items: by the model's item vectors, else by its scores for a user with only that item in the history."""

import numpy as np

from jaxrec.errors import InputError
from jaxrec.recommend.batch_recommender import NEW
from jaxrec.recommend.recommender import Recommender
from jaxrec.serve.programs import Programs, Row
from jaxrec.serve.traits import taste


class Neighbors:
    """Nearest neighbors of an item, excluding itself.

    Attributes:
        vectors: normalized item vectors [I, D]; None for a model without vectors.
        by: description of the similarity measure.
    """

    def __init__(self, recommender: Recommender, programs: Programs) -> None:
        self.recommender, self.programs = recommender, programs
        self.vectors = taste(recommender)
        self.by = "cosine of the model's item vectors"
        if self.vectors is None:
            self.by = "the model's score for a history of only this item"

    def __call__(self, item: int, k: int) -> list[tuple[int, float]]:
        """Return the k nearest items and their similarities, nearest first; fewer if no others are similar."""
        if self.vectors is None:
            return self._by_history(item, k)
        similarity = self.vectors @ self.vectors[item]
        similarity[item] = -np.inf
        best = np.argsort(-similarity, kind="stable")[: min(k, len(similarity) - 1)]
        return [(int(other), float(similarity[other])) for other in best]

    def _by_history(self, item: int, k: int) -> list[tuple[int, float]]:
        name = type(self.recommender.model).__name__
        if not self.recommender.model.history_length:
            raise InputError(f"{name} has no item vectors and reads no histories, so similar items are not available")
        history = np.array([item], np.int32)
        (listed,) = self.programs([Row(NEW, history, history, k)])
        return [pair for pair in zip(listed.items, listed.scores, strict=True) if pair[1] > 0]
