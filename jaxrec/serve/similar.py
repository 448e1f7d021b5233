"""Items like an item: by the model's vectors where it has some, else by what it recommends to who had it alone."""

import numpy as np

from jaxrec.errors import InputError
from jaxrec.recommend.batch_recommender import NEW
from jaxrec.recommend.item_similarity import model_vectors
from jaxrec.recommend.recommender import Recommender
from jaxrec.serve.programs import Programs, Row


class Neighbors:
    """The nearest items of an item, itself left out.

    vectors: [I, D] of length 1, or None for a model without
    by:      what similarity is, in words
    """

    def __init__(self, recommender: Recommender, programs: Programs) -> None:
        self.recommender, self.programs = recommender, programs
        self.vectors = model_vectors(recommender)
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
        if not self.recommender.model.history_length:
            raise InputError(f"{name} has no vectors of items and reads no histories: it cannot say what is similar")
        alone = np.array([item], np.int32)
        (listed,) = self.programs([Row(NEW, alone, alone, k)])
        return [pair for pair in zip(listed.items, listed.scores, strict=True) if pair[1] > 0]
