import os
import signal
import sys
import time
from pathlib import Path

import optuna
import pytest

from jaxrec.launch import worker_process
from jaxrec.launch.worker_process import (
    LAUNCH,
    STOP,
    WorkerProcess,
    processes,
    shares,
    start_here,
    stopped_with_launch,
)
from jaxrec.sweep.interrupts import Interrupts


def test_workers_get_the_arguments_of_the_command_without_password(monkeypatch, tmp_path):
    monkeypatch.delenv("JAXREC_STORAGE_PASSWORD", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    url = "postgresql+psycopg://me:s3cret@host/db"
    typed = ["--multirun", "sweep=mf", "sweep.workers=2", f"sweep.storage={url}", "hydra/launcher=joblib", "seed=3"]
    typed += ["hydra.launcher.n_jobs=2", "overwrite=true", "hydra.sweep.dir=elsewhere", "+trainer.x=choice(1,2)"]
    monkeypatch.setattr(sys, "argv", ["jaxrec", *typed])
    settings = {"sweep.study_name": "mf/a", "hydra.sweep.dir": str(tmp_path), "seed": 4}
    one, two = processes("launch", settings, url, tmp_path, 2, is_here=False)
    assert one.command == two.command
    assert one.command == (
        *("-m", "jaxrec", "train", "--multirun", "sweep=mf", "+trainer.x=choice(1,2)"),
        *("sweep.workers=1", "sweep.study_name=mf/a", f"hydra.sweep.dir={tmp_path}", "seed=4"),
        'sweep.storage="postgresql+psycopg://me@host/db"',
    )
    assert "s3cret" not in repr(one)
    assert os.environ["JAXREC_STORAGE_PASSWORD"] == "s3cret"
    assert one.environment == {LAUNCH: "launch"}
    assert (one.log, two.log) == (tmp_path / "workers" / "0.log", tmp_path / "workers" / "1.log")


@pytest.mark.parametrize(
    ("cores", "gpus", "n", "expected"),
    [
        ({0, 1, 2, 3, 4}, None, 2, [((0, 2, 4), {}), ((1, 3), {})]),
        ({4, 5}, None, 3, [((4,), {}), ((5,), {}), ((4,), {})]),
        (
            {0, 1},
            "0,2,5",
            2,
            [((0,), {"CUDA_VISIBLE_DEVICES": "0,5"}), ((1,), {"CUDA_VISIBLE_DEVICES": "2"})],
        ),
        (
            {0, 1},
            "7",
            2,
            [
                ((0,), {"CUDA_VISIBLE_DEVICES": "7", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.45"}),
                ((1,), {"CUDA_VISIBLE_DEVICES": "7", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.45"}),
            ],
        ),
    ],
)
def test_cores_and_gpus_are_divided(cores, gpus, n, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: cores, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus or "")
    assert shares(n) == expected


def test_a_process_runs_on_its_cores_and_its_output_is_kept(monkeypatch, tmp_path):
    class Script(WorkerProcess):
        pass

    core = min(os.sched_getaffinity(0))
    program = "import os, sys; print(sorted(os.sched_getaffinity(0)), os.environ['A']); sys.exit('error: no data')"
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nsleep 0.2\nexec {sys.executable} -c "{program}"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    worker = Script((), {"A": "b"}, (core,), tmp_path / "workers" / "0.log")
    assert start_here([worker]) == [1]
    assert worker.log.read_text() == f"[{core}] b\nerror: no data\n"
    assert worker.last_line() == "error: no data"
    assert WorkerProcess((), {}, None, Path("/nowhere")).last_line() == ""


@pytest.mark.parametrize("reason", ["stopped", "parent killed"])
def test_a_worker_ends_with_its_launch(reason, monkeypatch, interruptible):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell script
    monkeypatch.setattr(worker_process, "POLL_SECONDS", 0.01)
    monkeypatch.setenv(LAUNCH, "this")
    study = optuna.create_study()
    with Interrupts() as interrupts, stopped_with_launch(study):
        study.set_user_attr(STOP, "another")
        time.sleep(0.1)
        assert not interrupts.is_requested
        if reason == "stopped":
            study.set_user_attr(STOP, "this")
        else:
            monkeypatch.setattr(os, "getppid", lambda: 1)
        for _ in range(500):
            if interrupts.is_requested:
                break
            time.sleep(0.01)
    assert interrupts.is_requested
