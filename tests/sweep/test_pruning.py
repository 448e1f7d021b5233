"""Pruning at the rungs of successive halving, by hand."""

import optuna
import pytest

from jaxrec.sweep.pruning import Pruning, report


def test_the_rungs_of_forty_epochs():
    """Every second epoch is reported, the first rung is a fifth of all, and each is twice the one before."""
    pruning = Pruning("halving", epochs=40)
    epochs = (7, 8, 15, 16, 31, 32, 40)
    assert [pruning.rung(epoch) for epoch in epochs] == [None, 8, 8, 16, 16, 32, 32]
    assert [epoch for epoch in range(1, 9) if pruning.is_reported(epoch)] == [2, 4, 6, 8]
    assert Pruning("median", epochs=40).rung(40) is None


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_the_better_half_of_the_trials_at_a_rung_goes_on(direction, sign):
    """The best of one, of two and of three trials, and the best two of four; before the first rung, all."""
    study = optuna.create_study(direction=direction, pruner=Pruning("halving", epochs=40).pruner())

    def is_pruned(epoch, value):
        trial = study.ask()
        return report(study, trial, study._storage.get_trial(trial._trial_id), epoch, sign * value)

    assert [is_pruned(8, value) for value in (0.4, 0.1, 0.2, 0.3)] == [False, True, True, False]
    assert not is_pruned(7, 0.0)
    assert is_pruned(8, 0.0)
    assert [trial.intermediate_values for trial in study.trials[:2]] == [{8: sign * 0.4}, {8: sign * 0.1}]
