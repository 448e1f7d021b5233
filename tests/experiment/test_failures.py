"""Messages about diverged members: the epoch, and the settings in which they differ from others."""

import re

import numpy as np
import pytest

from jaxrec.experiment.failures import UNDEFINED, failure_of, numbers_of_member
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([{"epoch": 1, "loss": np.nan, "seconds": 0.1}], r"training diverged: .* \(loss nan in epoch 1\)$"),
        (
            [{"epoch": 1, "loss": np.inf, "ndcg@10": np.nan}, {"epoch": 2, "loss": np.inf, "ndcg@10": np.nan}],
            r"\(loss inf in epoch 2\)$",
        ),
        ([{"epoch": 3, "loss": 0.5, "ndcg@10": np.nan}], r"\(loss 0\.5 in epoch 3\)$"),  # scores that are not finite
        ([{"epoch": 1, "loss": 0.5, "ndcg@10": np.nan, "recall@10": 0.1}], UNDEFINED),
    ],
)
def test_the_message_has_the_epoch(history, message):

    assert re.search(message, failure_of(history))


def test_the_message_has_the_settings():
    numbers = {"optimizer.learning_rate": np.array([0.1, 9.0]), "model.dropout": np.array([0.5, 0.5])}
    population = Population(np.array([1, 2]), Hyper(numbers))
    assert numbers_of_member(population, 1) == ", member 1: optimizer.learning_rate=9"
    assert numbers_of_member(Population(np.array([1]), Hyper({})), 0) == ""
