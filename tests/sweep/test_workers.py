"""Processes that die, and processes that share a study."""

import os
import signal
import subprocess
import sys
import time

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from jaxrec.sweep.journal import read_journal
from jaxrec.sweep.storage import open_storage
from jaxrec.sweep.workers import last_round
from tests.paths import ROOT
from tests.sweep.recorder import Curves, Recorder, n_done, quadratic, sweep


def test_an_interrupt_leaves_the_trials_for_the_next_time(tmp_path):
    evaluate = Recorder()

    def interrupted(batch):
        yield from evaluate(batch[:1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, interrupted)
    left = optuna.load_study(study_name="study", storage=open_storage(None, tmp_path)).trials
    assert [trial.state.name for trial in left] == ["COMPLETE", "RUNNING", "RUNNING"]
    study = sweep(tmp_path, evaluate)
    assert n_done(study) == len(study.trials) == 8
    assert evaluate.batches[1][:2] == [left[1].params, left[2].params]
    through = sweep(tmp_path / "through")
    assert [trial.params for trial in study.trials] == [trial.params for trial in through.trials]


def test_a_worker_takes_over_as_many_trials_as_it_can_train(tmp_path):
    """Several workers have died: others, or this one when it has room again, take over the rest."""

    def interrupted(batch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, interrupted)
    evaluate = Recorder()
    study = sweep(tmp_path, evaluate, population=1)
    assert [len(batch) for batch in evaluate.batches] == [1] * 8
    assert n_done(study) == len(study.trials) == 8


def test_the_first_interrupt_waits_for_the_end_of_the_round_and_the_second_does_not(tmp_path, interruptible):
    saved, rounds = [], []

    class Signaled(Curves):
        def advance(self, *limit):
            rounds.append(0)
            for progress in super().advance(*limit):
                os.kill(os.getpid(), signal.SIGINT) if len(rounds) == 2 and not rounds[1] else None
                rounds[-1] += 1
                yield progress

        def save(self, is_interrupted):
            saved.append(is_interrupted)

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, runner=Signaled(lambda params: 2), n_trials=9)
    assert rounds == [3, 3]
    assert saved == [False, False, True]
    states = [t.state.name for t in optuna.load_study(study_name="study", storage=open_storage(None, tmp_path)).trials]
    assert states == ["COMPLETE"] * 3  # no new trial is proposed
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def twice(batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, twice, n_trials=9)


def test_a_trial_whose_process_died_while_it_was_proposed_is_completed(tmp_path):
    study = sweep(tmp_path, n_trials=2, population=1)
    study.ask()  # neither parameters nor a worker yet
    study = sweep(tmp_path, n_trials=4, population=1)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
    through = sweep(tmp_path / "through", n_trials=4, population=1)
    assert [trial.params for trial in study.trials] == [trial.params for trial in through.trials]


def test_locks_are_beside_a_file_that_processes_with_other_directories_share(tmp_path):
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    sweep(tmp_path / "one", storage=open_storage(storage, tmp_path / "one"), n_trials=3)
    assert (tmp_path / "studies.db.locks" / "ask.lock").exists()
    assert not (tmp_path / "one" / "workers").exists()
    sweep(tmp_path / "two", storage=open_storage(str(tmp_path / "two" / "x.log"), tmp_path / "two"), n_trials=3)
    assert (tmp_path / "two" / "workers").exists()


PROCESS = f"""
import os, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from jaxrec.sweep.outcome import Outcome
from tests.sweep.recorder import quadratic, sweep
directory, n_trials, kill_in_batch, pause, together = Path(sys.argv[1]), *(float(text) for text in sys.argv[2:])
batches = 0

def evaluate(batch):
    global batches
    batches += 1
    for place, params in enumerate(batch):
        time.sleep(pause)
        if batches == kill_in_batch and place == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Outcome(quadratic(params), "complete", {{"process": os.getpid()}})

(directory / f"ready-{{os.getpid()}}").touch()
while len(list(directory.glob("ready-*"))) < together:
    time.sleep(0.01)
sweep(directory, evaluate, n_trials=int(n_trials))
"""


def process(directory, n_trials, kill_in_batch=0, pause=0.0, together=0):
    arguments = [str(directory), str(n_trials), str(kill_in_batch), str(pause), str(together)]
    return subprocess.Popen([sys.executable, "-c", PROCESS, *arguments], stderr=subprocess.PIPE, text=True)


def finish(running):
    _, printed = running.communicate(timeout=60)
    return running.returncode, printed


def assert_none_lost_or_doubled(study, n_trials):
    assert n_done(study) == len(study.trials) == n_trials
    assert len({str(trial.params) for trial in study.trials}) == n_trials
    assert all(trial.value == quadratic(trial.params) for trial in study.trials)


@pytest.mark.slow
def test_killed_twice_in_the_middle_of_a_batch(tmp_path):
    for kill_in_batch in (2, 1):
        code, _ = finish(process(tmp_path, 10, kill_in_batch))
        assert code == -signal.SIGKILL
    study = sweep(tmp_path, n_trials=10)
    assert_none_lost_or_doubled(study, 10)
    through = sweep(tmp_path / "through", n_trials=10)
    assert [trial.params for trial in study.trials] == [trial.params for trial in through.trials]
    assert len(list((tmp_path / "workers").iterdir())) == 1  # locks of dead workers are removed


@pytest.mark.whole
def test_two_processes_share_a_study(tmp_path):
    one, two = (process(tmp_path, 17, pause=0.05, together=2) for _ in range(2))
    assert [finish(one)[0], finish(two)[0]] == [0, 0]
    study = optuna.load_study(study_name="study", storage=open_storage(None, tmp_path))
    assert len(study.trials) == 17
    assert_none_lost_or_doubled(study, 17)
    assert {trial.user_attrs["process"] for trial in study.trials} == {one.pid, two.pid}
    assert len(pd.read_csv(tmp_path / "trials.csv")) == 17


@pytest.mark.slow
def test_one_process_takes_over_when_the_other_is_killed(tmp_path):
    doomed, heir = (process(tmp_path, 12, kill, pause=0.05, together=2) for kill in (2, 0))
    assert finish(doomed)[0] == -signal.SIGKILL
    code, printed = finish(heir)
    assert code == 0
    assert "running in a process that ended" in printed
    assert_none_lost_or_doubled(optuna.load_study(study_name="study", storage=open_storage(None, tmp_path)), 12)


@pytest.mark.slow
def test_a_process_without_work_waits_for_the_last_trials(tmp_path):
    slow = process(tmp_path, 3, pause=0.3)
    while not list((tmp_path / "workers").glob("*")) or n_running(tmp_path) < 3:
        time.sleep(0.05)
    evaluate = Recorder()
    study = sweep(tmp_path, evaluate, n_trials=3)
    assert not evaluate.seen
    assert n_done(study) == 3
    assert finish(slow)[0] == 0


def n_running(directory):
    studies = optuna.get_all_study_summaries(read_journal(directory / "journal.log"))
    if not studies:
        return 0
    study = optuna.load_study(study_name="study", storage=read_journal(directory / "journal.log"))
    return len(study.get_trials(states=(TrialState.RUNNING,)))


def test_the_last_round_is_that_of_the_worker_of_a_trial():
    study = optuna.create_study()
    for worker, rounds in (("a", {"started_round": 4, "ended_round": 5}), ("b", {"started_round": 9})):
        study.add_trial(optuna.trial.create_trial(value=0.0, user_attrs={"worker": worker, **rounds}))
    first, second = study.trials
    assert [last_round(study, trial) for trial in (first, second, None)] == [5, 9, 9]
    study.set_user_attr("round a", 7)
    assert [last_round(study, trial) for trial in (first, second, None)] == [7, 9, 9]
    study.set_user_attr("round c", 11)
    assert [last_round(study, trial) for trial in (first, second, None)] == [7, 9, 11]
