"""Cost of a model: parameters by hand, and a measured time."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxrec import experiment
from jaxrec.data.splits.split import Split
from jaxrec.evaluation import cost
from jaxrec.hyper import Hyper
from tests.planted import N_ITEMS, N_USERS, PLANTED


@pytest.fixture(scope="module")
def split(compose) -> Split:
    return experiment.prepare(compose(*PLANTED))[0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["model=mf", "model.embedding_dim=8"], (N_USERS + N_ITEMS) * (8 + 1) + 1),  # vectors and biases
        (["model=ease"], N_ITEMS**2),
        (["model=popularity"], N_ITEMS),
    ],
)
def test_parameters_are_counted(settings, expected, split, compose):
    assert experiment.n_parameters(compose(*PLANTED, *settings), split.selection) == expected


def test_latency_is_the_fastest_measurement_in_milliseconds(monkeypatch):
    """Measurements of 3, 2.5 and 4 seconds, after one call that compiles."""
    calls, clock = [], iter([10.0, 13.0, 20.0, 22.5, 30.0, 34.0])
    monkeypatch.setattr(cost, "REPEATS", 3)
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    latency = cost.Latency.__new__(cost.Latency)
    latency._ranker = lambda params, hyper: calls.append(params["w"].shape)
    assert latency({"w": np.ones(2)}, Hyper()) == 2500.0
    assert calls == [(1, 2)] * 4
