"""The command of a population, killed at random times and run again."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from tests.paths import ROOT
from tests.planted import PLANTED

SETTINGS = (
    *("sweep.strategy=pbt", "sweep.population=4", "sweep.interval=3", "trainer.epochs=40", "trainer.patience=null"),
    *("trainer.batch_size=64", "model.embedding_dim=8", "trainer.save_minutes=0.02"),
    *("optimizer.learning_rate=tag(log,interval(1e-3,1e-1))", "negatives.ratio=int(interval(1,4))"),
)


def start(directory, cache):
    command = [sys.executable, "-m", "jaxrec", "train", "--multirun", *PLANTED, *SETTINGS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(cache)}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    return subprocess.Popen([*command, f"hydra.sweep.dir={directory}"], env=environment, stdout=subprocess.DEVNULL)


def outcome(directory):
    metrics = json.loads((directory / "best" / "metrics.json").read_text())
    trials = pd.read_csv(directory / "trials.csv").drop(columns="seconds")
    return {key: x for key, x in metrics.items() if key not in ("time", "environment")}, trials


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_population_killed_at_random_times_ends_with_the_same_trials_and_metrics(tmp_path):
    cache = tmp_path / "cache"
    assert start(tmp_path / "through", cache).wait() == 0
    started = time.monotonic()
    assert start(tmp_path / "again", cache).wait() == 0
    seconds, rng, n_killed = time.monotonic() - started, np.random.default_rng(0), 0
    while True:
        process = start(tmp_path / "killed", cache)
        try:
            assert process.wait(seconds * rng.uniform(0.3, 1.0)) == 0
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            n_killed += 1
    assert n_killed > 0
    (metrics, trials), (expected, expected_trials) = outcome(tmp_path / "killed"), outcome(tmp_path / "through")
    assert metrics == expected
    pd.testing.assert_frame_equal(trials, expected_trials)
