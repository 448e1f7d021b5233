import os

import optuna
from optuna.trial import TrialState, create_trial

from jaxrec.sweep.trials import trials_table, write_trials


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
