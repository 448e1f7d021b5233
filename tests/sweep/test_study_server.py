"""Workers of a study on a real server, each with its own directory: killed, started together, disconnected."""

import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from optuna.trial import TrialState

from tests.paths import ROOT
from tests.sweep.database import PASSWORD, Postgres, Proxy, opened
from tests.sweep.recorder import quadratic

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def postgres():
    pytest.importorskip("psycopg")
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(params=["postgres", "proxy"])
def server(request, tmp_path):
    if request.param == "postgres":
        started = Postgres()  # without tables
        yield started
        started.close()
    else:
        started = Proxy(tmp_path)
        yield started
        started.close()


def start(url, directory, n_trials, together=1):
    command = [sys.executable, "-m", "tests.sweep.searching", url, str(directory), str(n_trials), str(together)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(worker):
    output, _ = worker.communicate(timeout=180)
    return worker.returncode, output


def wait_for(n, url, directory):
    """Wait until the study has `n` finished trials."""
    deadline, finished = time.monotonic() + 120, 0
    while finished < n:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        with suppress(KeyError), opened(url, directory) as study:
            while (finished := sum(trial.state.is_finished() for trial in study.trials)) < n:
                time.sleep(0.1)


def assert_exact(url, directory, n_trials):
    with opened(url, directory) as study:
        assert_each_once(study, n_trials)


def assert_each_once(study, n_trials):
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * n_trials
    assert len({str(trial.params) for trial in study.trials}) == n_trials
    assert all(trial.value == quadratic(trial.params) for trial in study.trials)


@pytest.mark.parametrize("seed", range(2))
def test_four_workers_of_which_two_are_killed_end_with_the_exact_number_of_trials(seed, server, tmp_path):
    moments, outputs = random.Random(seed), []
    workers = [start(server.url, tmp_path / str(i), 40, together=4) for i in range(4)]
    wait_for(3, server.url, tmp_path)
    for worker in workers[:2]:
        time.sleep(moments.uniform(0, 1))
        worker.send_signal(signal.SIGKILL)
    for worker, code in zip(workers, [-signal.SIGKILL, -signal.SIGKILL, 0, 0], strict=True):
        returned, output = end(worker)
        outputs.append(output)
        assert returned == code, output
    assert_exact(server.url, tmp_path, 40)
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in text for text in [*written, "".join(outputs).encode()])


def test_workers_wait_for_a_database_that_restarts(postgres, tmp_path):
    workers = [start(postgres.url, tmp_path / str(i), 30, together=2) for i in range(2)]
    wait_for(5, postgres.url, tmp_path)
    postgres.stop()
    time.sleep(5)  # longer than a lease
    postgres.start()
    for worker in workers:
        code, output = end(worker)
        assert code == 0, output
        assert "the storage cannot be reached" in output
        assert "Traceback" not in output
        assert PASSWORD not in output
    assert_exact(postgres.url, tmp_path, 30)
