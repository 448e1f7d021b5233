import pytest
from optuna.trial import TrialState, create_trial

from jaxrec.report import trial_sample
from jaxrec.report.trial_sample import sample, sample_note


def trials(values, pruned=()):
    found = []
    for number, value in enumerate(values):
        state = TrialState.PRUNED if number in pruned else TrialState.COMPLETE
        found.append(create_trial(state=state, value=value, intermediate_values={1: value}))
        found[-1].number = number
    return found


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(trial_sample, "N_BEST", 2)
    monkeypatch.setattr(trial_sample, "N_OTHERS", 3)


def test_all_trials_are_shown_up_to_the_limit():
    found = trials([0.1, 0.2, 0.3, 0.4, 0.5])
    assert sample(found, minimize=False) == found
    assert sample_note(5) == ""


@pytest.mark.parametrize(("minimize", "best"), [(False, {6, 9}), (True, {2, 4})])
def test_the_best_complete_trials_are_always_in_the_sample(minimize, best):
    values = [0.5, 0.4, 0.1, 0.5, 0.2, 0.6, 0.8, 0.99, 0.01, 0.9]
    shown = sample(trials(values, pruned={7, 8}), minimize=minimize)
    numbers = [trial.number for trial in shown]
    assert best < set(numbers)
    assert len(numbers) == 5
    assert numbers == sorted(numbers)
    assert numbers == [trial.number for trial in sample(trials(values, pruned={7, 8}), minimize=minimize)]
    assert sample_note(1234) == "Shown are the 2 best of 1,234 trials and a random sample of 3 others."
