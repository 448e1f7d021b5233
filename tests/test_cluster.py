"""Runs of several processes: results of one process, one writer, and the end of all if one is lost."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from jaxrec import cluster
from jaxrec.errors import InputError
from tests.paths import ROOT

SETTINGS = [
    *("data=synthetic", "data.n_users=203", "data.n_items=131", "data.n_interactions=4000", "model=mf"),
    *("trainer.epochs=30", "trainer.patience=null", "optimizer=adagrad", "trainer.save_minutes=0.0001"),
]
SPLIT = ["trainer.mesh.batch=2", "trainer.mesh.row=2", "cluster=true"]


@pytest.mark.parametrize(("word", "ends"), [(cluster.DONE, False), (b"", True)], ids=["done", "lost"])
def test_a_process_ends_when_another_is_lost(
    word: bytes, ends: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(cluster.os, "_exit", codes.append)
    monkeypatch.setattr(cluster, "is_first", lambda: False)
    here, there = socket.socketpair()
    with here, there:
        there.sendall(word)
        there.shutdown(socket.SHUT_WR)
        cluster._end_with(here, 3)
    printed = capsys.readouterr().err
    assert (codes, printed.count("\n")) == (([1], 1) if ends else ([], 0))
    assert printed.startswith("error: process 3 of 1 was lost" if ends else "")


def test_a_failed_process_gives_the_others_time_to_fail_with_their_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wait this process would report the end of the other process instead of its own error."""
    monkeypatch.setattr(cluster.os, "_exit", lambda code: pytest.fail("it did not wait"))
    monkeypatch.setattr(cluster, "_leaving", threading.Event())
    here, there = socket.socketpair()
    with here, there:
        there.sendall(cluster.FAILED)
        threading.Timer(0.2, cluster._leaving.set).start()
        cluster._end_with(here, 1)


@pytest.mark.parametrize("given", [{"JAX_NUM_PROCESSES": "2"}, {"JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"}])
def test_incomplete_variables_are_an_error_of_one_line(given: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in cluster.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="the last two must be numbers"):
        cluster._from_variables()


def start(folder: Path, *arguments: str, of: int = 1) -> list[subprocess.Popen]:
    """Start `jaxrec train` in `of` processes with two devices each; output is in FOLDER-0.txt, FOLDER-1.txt."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    begun = []
    for number in range(of):
        own = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": str(of)}
        environment = os.environ | own | {"JAX_PROCESS_ID": str(number), "JAX_PLATFORMS": "cpu"}
        with Path(f"{folder}-{number}.txt").open("w") as output:
            call = [sys.executable, "-m", "jaxrec", "train", *SETTINGS, *arguments, f"hydra.run.dir={folder}"]
            begun.append(subprocess.Popen(call, cwd=ROOT, env=environment, stdout=output, stderr=output))
    return begun


def metrics(folder: Path) -> dict[str, float]:
    found = json.loads((folder / "metrics.json").read_text())
    return {
        f"{part} {key}": value for part in ("validation", "test", "popularity") for key, value in found[part].items()
    }


@pytest.mark.slow
def test_two_processes_train_to_the_results_of_one_and_continue_after_a_kill(tmp_path: Path) -> None:
    (alone,) = start(tmp_path / "one", "trainer.mesh.batch=1")
    assert alone.wait(300) == 0

    killed = start(tmp_path / "two", *SPLIT, of=2)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "two" / "training").glob("*/model.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed[1].kill()
    killed[1].wait(60)
    assert killed[0].wait(60) == 1
    assert not (tmp_path / "two" / "metrics.json").exists()
    last = (tmp_path / "two-0.txt").read_text().splitlines()[-1]
    assert last.startswith("error: process 1 of 2 was lost")

    assert [process.wait(300) for process in start(tmp_path / "two", *SPLIT, of=2)] == [0, 0]
    assert "continuing after epoch" in (tmp_path / "two-0.txt").read_text()
    assert not (tmp_path / "two" / "training").exists()
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert one.keys() == two.keys()
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=0, atol=1e-6)
