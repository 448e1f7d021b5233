"""Searches by several worker processes, from the command line."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from jaxrec.sweep.journal import read_journal
from tests.kills.victims import workers_of
from tests.paths import ROOT
from tests.planted import PLANTED
from tests.sweep.database import PASSWORD, Postgres

pytestmark = pytest.mark.slow

SEARCH = ("--multirun", *PLANTED, "sweep=ease", "sweep.population=1", "sweep.study_name=many", "sweep.workers=4")


def start(directory, *arguments):
    command = [sys.executable, "-m", "jaxrec", "train", *SEARCH, f"hydra.sweep.dir={directory}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=directory.parent, env=environment, **output)


def wait_until(condition, parent):
    deadline = time.monotonic() + 240
    while not condition():
        assert parent.poll() is None, parent.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def finished(directory):
    logs = [path.read_text() for path in (directory / "workers").glob("*.log")]
    return sum(text.count("  trial ") for text in logs)


@pytest.fixture
def postgres():
    pytest.importorskip("psycopg")
    server = Postgres()
    yield server
    server.close()


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_four_workers_of_which_two_are_killed_end_with_the_exact_number_of_trials(launcher, tmp_path, request):
    if launcher != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    directory, arguments = tmp_path / "many", [f"hydra/launcher={launcher}", "sweep.n_trials=24"]
    if launcher == "joblib":
        arguments.append(f"sweep.storage={request.getfixturevalue('postgres').url}")
    parent = start(directory, *arguments)
    wait_until(lambda: len(workers_of(directory)) == 4 and finished(directory) >= 2, parent)
    moments = random.Random(launcher)
    for pid in moments.sample(workers_of(directory), 2):
        os.kill(pid, signal.SIGKILL)
        time.sleep(moments.uniform(0, 1))
    output, _ = parent.communicate(timeout=400)
    assert parent.returncode == 0, output
    trials = pd.read_csv(directory / "trials.csv")
    assert list(trials.state) == ["complete"] * 24
    assert trials["model.regularization"].nunique() == 24
    assert "study many: 4 workers" in output
    assert output.count("ended with exit code -9") <= 2
    assert "by chance (best of 24)" in output
    metrics = json.loads((directory / "best" / "metrics.json").read_text())
    # The workers have fewer cores than the process that trains the best trial again.
    assert metrics["validation"]["ndcg@10"] == pytest.approx(trials.value.max(), rel=1e-6)
    assert not workers_of(directory)
    written = b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())
    assert PASSWORD.encode() not in written + output.encode()


def test_an_interrupt_stops_all_workers_and_the_same_command_continues(tmp_path):
    directory = tmp_path / "many"
    parent = start(directory, "sweep.n_trials=200")
    wait_until(lambda: len(workers_of(directory)) == 4 and finished(directory) >= 2, parent)
    parent.send_signal(signal.SIGTERM)
    output, _ = parent.communicate(timeout=120)
    assert parent.returncode == 130, output
    assert "the workers end after the epoch in training" in output
    assert "of 200 trials have ended" in output
    assert not workers_of(directory)
    assert (directory / "best" / "metrics.json").exists()
    parent = start(directory, "sweep.n_trials=200")
    output, _ = parent.communicate(timeout=400)
    assert parent.returncode == 0, output
    study = optuna.load_study(study_name="many", storage=read_journal(directory / "journal.log"))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 200


def test_workers_that_fail_are_reported_in_one_line(tmp_path):
    directory = tmp_path / "many"
    failing = "import os, sys\nif 'JAXREC_LAUNCH' in os.environ: sys.exit('error: no')\n"
    (tmp_path / "sitecustomize.py").write_text(failing)
    command = [sys.executable, "-m", "jaxrec", "train", *SEARCH, f"hydra.sweep.dir={directory}"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    assert "error: no trial was completed" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep.workers=1", "hydra/launcher=joblib"], "hydra/launcher=joblib has no effect without several workers"),
        (["sweep.workers=0"], "sweep.workers"),
    ],
)
def test_worker_settings_without_effect_are_refused(arguments, message, tmp_path):
    if "hydra/launcher=joblib" in arguments:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    parent = start(tmp_path / "many", *arguments)
    output, _ = parent.communicate(timeout=120)
    assert parent.returncode == 2
    assert message in output
    assert not (tmp_path / "many").exists()


def test_the_searches_of_a_comparison_have_workers_too(tmp_path):
    words = ("--multirun", *PLANTED, "sweep=compare", "sweep.models=[popularity,ease,item_knn]", "sweep.n_trials=5")
    command = [sys.executable, "-m", "jaxrec", "train", *words, "sweep.workers=2", f"hydra.sweep.dir={tmp_path}/many"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "many" / "comparison.csv", index_col="model")
    assert table["trials"].to_dict() == {"popularity": 1, "ease": 5, "item_knn": 5}
    assert (table["state"] == "complete").all()
    for name in ("ease", "item_knn"):
        logs = [path.read_text() for path in (tmp_path / "many" / name / "workers").glob("*.log")]
        assert sum(text.count("  trial ") for text in logs) == 5  # the command itself trained none
        assert len(logs) == 2
        assert len(pd.read_csv(tmp_path / "many" / name / "trials.csv")) == 5
    assert not (tmp_path / "many" / "popularity" / "workers").exists()
