"""Searches by several worker processes, from Python."""

import pickle
import signal
import sys
import tempfile
from types import SimpleNamespace

import pandas as pd
import pytest

import jaxrec
from jaxrec.api.dataset import Dataset
from jaxrec.data.sources.synthetic import synthetic
from jaxrec.launch import python_workers
from jaxrec.launch.worker_process import WorkerProcess
from jaxrec.losses import bpr
from jaxrec.sweep.plan import Plan
from jaxrec.sweep.search_task import SearchTask
from jaxrec.sweep.space import Interval

SPACE = {"model.regularization": {"low": 1.0, "high": 1000.0, "log": True}}


@pytest.fixture(scope="module")
def split():
    made = synthetic(n_users=60, n_items=40, n_interactions=1200, seed=0)
    frame = pd.DataFrame({"user_id": made.user_ids[made.user], "item_id": made.item_ids[made.item]})
    return jaxrec.split(Dataset(frame, user="user_id", item="item_id"), "holdout")


@pytest.mark.slow
def test_workers_of_a_search_share_its_trials(split, tmp_path):
    found = jaxrec.search(split, "ease", space=SPACE, n_trials=6, population=1, workers=2, directory=tmp_path / "two")
    assert len(found.trials) == 6
    logs = [path.read_text() for path in (tmp_path / "two" / "workers").glob("*.log")]
    assert len(logs) == 2
    assert sum(text.count("  trial ") for text in logs) == 6  # this process trained none
    winner = {"overrides": found.best_params}
    assert found.best.metrics["test"] == pytest.approx(jaxrec.fit(split, "ease", **winner).metrics["test"])
    assert (tmp_path / "two" / "best" / "metrics.json").exists()


def test_several_workers_are_refused_where_they_cannot_share(split, monkeypatch):
    def own(positive, negative, mask=None):
        return bpr(positive, negative, mask)

    own.__module__, own.__qualname__ = "__main__", "own"
    with pytest.raises(jaxrec.InputError, match=r"workers=2: other processes cannot import __main__.own: move it"):
        jaxrec.search(split, "mf", loss=own, n_trials=2, workers=2, verbose=False)
    with pytest.raises(jaxrec.InputError, match=r"strategy=pbt has one population in one process"):
        jaxrec.search(split, "mf", strategy="pbt", population=2, workers=2, verbose=False)


def test_the_file_of_a_search_is_removed_when_the_workers_have_ended(tmp_path, monkeypatch):
    """Those of killed processes are removed by the next one; see test_scratch.py."""
    plan = Plan(space={"x": Interval(0.0, 1.0)}, n_trials=1, population=1, metric="m", fixed={})
    task = SearchTask("name", None, SimpleNamespace(tree={}), plan, [])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def start(workers):
        (worker,) = workers
        assert worker.command[:2] == ("-c", python_workers.CODE)
        with open(worker.command[2], "rb") as opened:
            assert pickle.load(opened) == sys.path
            assert pickle.load(opened)[1:3] == ("the split", tmp_path / "out")
        raise KeyboardInterrupt

    monkeypatch.setattr(python_workers, "start_here", start)
    launcher = python_workers.python_launcher(task, "the split", tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        launcher.start([WorkerProcess((), {}, None, tmp_path / "0.log")])
    assert not list(tmp_path.iterdir())


def test_a_worker_is_terminated_as_by_an_interrupt(interruptible, monkeypatch, tmp_path):
    """So it ends the round in progress when its launch is stopped."""
    file, handlers = tmp_path / "search.pickle", []
    file.write_bytes(pickle.dumps(sys.path) + pickle.dumps((None, None, None, {})))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    monkeypatch.setattr(sys, "argv", ["worker", str(file)])
    monkeypatch.setattr(python_workers, "use_all_cores", lambda: None)
    monkeypatch.setattr(python_workers, "run_part", lambda *_: handlers.append(signal.getsignal(signal.SIGTERM)))
    python_workers.main()
    assert handlers == [signal.default_int_handler]
