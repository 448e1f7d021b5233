import os

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from jaxrec import experiment
from jaxrec.sweep.ask_and_tell import enqueue_combinations
from jaxrec.sweep.costs import TrialCosts
from jaxrec.sweep.objectives import Goals
from jaxrec.sweep.outcome import FINAL, Outcome
from jaxrec.sweep.repeats import EndedTrials
from jaxrec.sweep.trials import failures_by_key, further, key_of, params_of, trials_table, write_trials


def test_the_rounds_are_the_last_columns_and_the_worker_is_not_in_the_table():
    study = optuna.create_study()
    attributes = {"started_round": 0, "worker": "0f3a", "ended_round": 4, "epochs": 4}
    study.add_trial(create_trial(value=0.5, user_attrs=attributes))
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"error": "out of memory"}))
    table = trials_table(study)
    assert list(table) == ["number", "state", "value", "epochs", "error", "started_round", "ended_round"]
    assert list(table["state"]) == ["complete", "failed"]
    assert table.loc[0, "ended_round"] == 4
    assert list(trials_table(optuna.create_study())) == ["number", "state", "value"]


def test_writing_the_table_removes_temporary_files_of_killed_processes(tmp_path):
    (tmp_path / ".tmp-0123abcd-trials.csv").touch()
    os.utime(tmp_path / ".tmp-0123abcd-trials.csv", (0, 0))
    write_trials(optuna.create_study(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"ask.lock", "trials.csv"}


def test_a_number_of_parameters_is_an_integer_and_other_objectives_are_not():
    trial = create_trial(values=[0.5, 12.0, 0.75])
    found = further(trial, ["n_parameters", "novelty@10"])
    assert [(name, type(value), value) for name, value in found.items()] == [
        ("n_parameters", int, 12),
        ("novelty@10", float, 0.75),
    ]


def test_ended_trials_are_those_that_need_no_training():
    space = {"x": FloatDistribution(0, 3)}
    ended = EndedTrials()
    for x, state, attributes in (
        (0.0, TrialState.COMPLETE, {}),
        (1.0, TrialState.FAIL, {FINAL: True, "error": "diverged"}),
        (2.0, TrialState.FAIL, {"error": "no memory"}),  # tried once more
    ):
        value = 0.5 if state == TrialState.COMPLETE else None
        trial = create_trial(state=state, value=value, params={"x": x}, distributions=space, user_attrs=attributes)
        ended.add([trial])
    assert [key_of({"x": x}) in ended for x in (0.0, 1.0, 2.0)] == [True, True, False]


def test_failures_that_count_and_combinations_that_wait_for_a_trial():
    """The first failed for good, the second once, the third with a worker that lost its turn, the fourth twice."""
    space = {"x": FloatDistribution(0, 3)}
    combinations = {key_of(params): params for params in ({"x": float(x)} for x in range(4))}
    failed = [
        create_trial(state=TrialState.FAIL, params={"x": x}, distributions=space, user_attrs=attributes)
        for x, attributes in ((0.0, {FINAL: True}), (1.0, {}), (2.0, {"orphan": True}), (3.0, {}), (3.0, {}))
    ]
    assert [failures_by_key(failed)[key] for key in combinations] == [2, 1, 0, 2]
    study = optuna.create_study()
    enqueue_combinations(study, failed, combinations, n_free=9)
    assert [params_of(trial) for trial in study.trials] == [{"x": 1.0}, {"x": 2.0}]


def test_a_repeat_is_that_of_the_first_trial_with_its_parameters():
    study, space = optuna.create_study(), {"x": FloatDistribution(0, 3)}
    for value, attributes in ((0.5, {"epochs": 4, "worker": "a"}), (0.5, {"same_as": 0}), (0.7, {"epochs": 9})):
        study.add_trial(create_trial(value=value, params={"x": 1.0}, distributions=space, user_attrs=attributes))
    ended = EndedTrials()
    ended.add(study.trials)
    assert ended.outcome({"x": 1.0}) == Outcome(0.5, attributes={"epochs": 4, "same_as": 0})
    of_repeat = EndedTrials()
    of_repeat.add(study.trials[1:])
    assert of_repeat.outcome({"x": 1.0}) == Outcome(0.5, attributes={"same_as": 0})
    assert of_repeat.outcome({"x": 2.0}) is None


def test_the_latency_of_a_trial_is_measured_by_its_own_program(monkeypatch):
    monkeypatch.setattr(experiment, "latency", lambda model, selection: lambda params, hyper: params + hyper + model)
    costs = TrialCosts(Goals(("latency_ms",)), selection=None)
    programs = ({"model": {"k": 1}}, 100.0), ({"model": {"k": 2}}, 200.0)
    for number, (tree, model) in enumerate(programs * 2):
        costs.start(number, tree)
        assert costs.measure(number, tree, model, 1.0, number / 10) == {"latency_ms": model + 1 + number / 10}
    assert len(costs._latencies) == 2
