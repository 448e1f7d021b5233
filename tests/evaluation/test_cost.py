"""Cost of a model: parameters by hand, and a measured time."""

import pytest

from jaxrec import experiment
from jaxrec.data.splits.split import Split
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
