"""Experiment: split, model, training, full ranking and results, for one run or a population.

Model selection (`select`) takes a `Selection`, which has no test data; only `finish` reads the test split.
"""

from jaxrec.experiment.failures import failure, failure_of
from jaxrec.experiment.parts import check, latency, model_and_evaluator, n_parameters, prepare, trainer
from jaxrec.experiment.provenance import environment, facts
from jaxrec.experiment.results import Result, finish, finish_each, popularity_on_validation
from jaxrec.experiment.training import Selected, members_of, no_progress, select, train

__all__ = [
    "Result",
    "Selected",
    "check",
    "environment",
    "facts",
    "failure",
    "failure_of",
    "finish",
    "finish_each",
    "latency",
    "members_of",
    "model_and_evaluator",
    "n_parameters",
    "no_progress",
    "popularity_on_validation",
    "prepare",
    "select",
    "train",
    "trainer",
]
