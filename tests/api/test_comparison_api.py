"""Comparisons of models in Python with given evaluations: users with several rows, seeds, and data of another split."""

import numpy as np
import pytest

from jaxrec.api import comparison
from jaxrec.data.interactions import Interactions
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation.evaluation import Evaluation
from jaxrec.evaluation.ground_truth import ground_truth
from jaxrec.models.ease import EASE
from jaxrec.models.mf import MatrixFactorization
from jaxrec.recommend.recommender import Recommender
from jaxrec.statistics import compared

ITEMS = 6


def interactions(pairs: list[tuple[int, int]]) -> Interactions:
    user, item = np.array(pairs, np.int32).reshape(-1, 2).T
    return Interactions(user, item, None, None, None, np.arange(4), np.arange(ITEMS))


class Fixed(Recommender):
    """A model with these values of the rows and these known pairs."""

    def __init__(self, model, values, pairs) -> None:
        data = interactions(pairs)
        self.model, self.values, self.known = model, np.asarray(values, np.float32), data.histories
        self.user_ids, self.item_ids = data.user_ids, data.item_ids

    def evaluated(self, evaluation, held):
        truth = ground_truth(held, one_per_row=True)
        coverage = {"coverage@5": np.array([0.5])}
        return Evaluation(truth, {"ndcg@5": self.values[None]}, coverage, np.zeros((1, 6, 1), int), np.ones(1, bool))


def test_rows_of_a_user_and_models_without_seeds_count_as_in_every_comparison():
    known, targets = [(u, 0) for u in range(4)], [(0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 1)]
    held = HeldOut(interactions(known), interactions(targets))
    users, values = np.array([0, 0, 0, 1, 2, 3]), {"ease": [1, 1, 0.9, 0, 0.5, 0.2], "mf": [0, 0.1, 0, 0.4, 0.7, 1]}
    models = {"ease": EASE(ITEMS, 4), "mf": MatrixFactorization(4, ITEMS, 2)}
    found = comparison.evaluate({name: Fixed(models[name], values[name], known) for name in models}, held, k=(5,))
    of_rows = {name: np.array([own], np.float32) for name, own in values.items()}
    expected = compared(of_rows, users, ["ease"]).drop(columns="run")
    own = found[found.metric == "ndcg@5"][list(expected)].reset_index(drop=True)
    assert own.astype(float).equals(expected.astype(float))
    assert own["sd"].tolist()[0] == 0
    assert np.isnan(own["sd"][1])


def test_the_standard_deviation_of_a_metric_of_all_lists():
    row = comparison._overall("mf", "coverage@5", np.array([0.2, 0.4, 0.3])).iloc[0]
    assert (row["seeds"], row["value"], row["sd"]) == pytest.approx((3, 0.3, 0.1))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([(0, 0), (1, 0)], None),
        ([(0, 0), (1, 0), (0, 1), (1, 2)], None),  # of its own split, of which this is the validation part
        ([(0, 0), (1, 0), (0, 1)], "1 of 2 held-out interactions"),
        ([(0, 1), (1, 2), (0, 3)], "2 of 2 held-out interactions"),
    ],
)
def test_models_of_another_split_are_refused(own, message):
    held = HeldOut(interactions([(0, 0), (1, 0)]), interactions([(0, 1), (1, 2)]))
    model = Fixed(None, [], own)
    if message is None:
        comparison._check_split("mf", model, held)
        return
    with pytest.raises(InputError, match=message):
        comparison._check_split("mf", model, held)
