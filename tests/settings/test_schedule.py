"""Schedules: hyperparameters that change during training."""

import numpy as np
import pytest

from jaxrec import settings
from jaxrec.errors import InputError
from jaxrec.settings.schedule import Schedule
from tests.planted import PLANTED

RATES = """
epochs: 3
steps:
  - {from_epoch: 1, overrides: {optimizer.learning_rate: 0.03, model.embedding_dim: 8}}
  - {from_epoch: 3, overrides: {optimizer.learning_rate: 0.01}}
"""


def test_a_file_sets_numbers_epochs_and_no_patience(compose, tmp_path):
    file = tmp_path / "schedule.yaml"
    file.write_text(RATES)
    tree = compose(*PLANTED, f"trainer.schedule={file}")
    assert (tree["trainer"]["epochs"], tree["trainer"]["patience"]) == (3, None)
    settings.check(tree)
    ((_, shared, population),) = settings.populations([tree, {**tree, "seed": 5}])
    assert population.seeds.tolist() == [1, 5]
    at = {epoch: population.at([epoch, 1]) for epoch in (1, 2, 3)}
    for epoch, rate in ((1, 0.03), (2, 0.03), (3, 0.01)):
        np.testing.assert_array_equal(at[epoch].numbers["optimizer.learning_rate"], np.float32([rate, 0.03]))
    np.testing.assert_array_equal(at[3].numbers["model.width"], [8, 8])  # steps add up
    assert shared["model"]["embedding_dim"] == 8


def test_arrays_have_the_largest_size_of_space_and_steps(compose):
    steps = [{"from_epoch": 2, "overrides": {"model.embedding_dim": 16}}]
    schedule = {"steps": steps, "space": {"negatives.ratio": [1, 7]}}
    tree = settings.put(compose(*PLANTED, "model.embedding_dim=4"), {"trainer.schedule": schedule})
    ((_, shared, population),) = settings.populations([tree])
    assert (shared["model"]["embedding_dim"], shared["negatives"]["ratio"]) == (16, 7)
    assert [int(population.at([epoch]).numbers["model.width"][0]) for epoch in (1, 2)] == [4, 16]
    assert int(population.hyper.numbers["negatives.n_negatives"][0]) == 4  # the default


def step(**overrides):
    return {"steps": [{"from_epoch": 2, "overrides": {key.replace("__", "."): x for key, x in overrides.items()}}]}


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (step(trainer__batch_size=64), "trainer.batch_size cannot change to 64 at epoch 2"),
        (step(model__dim=3), "model.dim is not a setting of this run"),
        (step(optimizer__learning_rate=-1.0), "optimizer.learning_rate=-1.0"),
    ],
)
def test_a_step_that_cannot_be_trained_is_refused(schedule, message, compose):
    tree = settings.put(compose(*PLANTED), {"trainer.schedule": schedule})
    with pytest.raises(InputError, match=message):
        settings.check(tree)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "the whole file: Input should be a valid dictionary"),
        ({"steps": []}, "my.yaml: steps: List should have at least 1 item"),
        ({"steps": [{"from_epoch": 0, "overrides": {}}]}, "steps.0.from_epoch: .*greater than 0"),
        ({"steps": [{"from_epoch": 1, "override": {}}]}, "steps.0"),
        ({"steps": [{"from_epoch": e, "overrides": {}} for e in (3, 3)]}, r"must increase from step to step, got \[3"),
    ],
)
def test_errors_name_the_place(content, message):
    with pytest.raises(InputError, match=message):
        Schedule.of(content, "my.yaml")
