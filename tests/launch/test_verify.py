"""A run or trial is trained again, and its metrics are compared with the stored ones."""

import json
import math
import shutil

import pytest

from jaxrec.launch.verify import compare_metrics
from tests.paths import ROOT

STUDY = ROOT / "tests" / "fixtures" / "format-2" / "study"


@pytest.mark.parametrize(
    ("repeated", "is_equal", "sentence"),
    [
        ({"ndcg@5": 0.25, "rmse": 40.0, "mae": None}, True, "equal: all 3 metrics of run are the same"),
        (
            {"ndcg@5": 0.250009, "rmse": 40.0003, "mae": None},
            True,
            "equal within 1e-05: the 3 metrics of run differ by at most 0.0003",
        ),
        ({"ndcg@5": 0.25002, "rmse": 40.0, "mae": None}, False, "different: metrics of run differ by up to 2e-05"),
        ({"ndcg@5": 0.25, "rmse": 40.0005, "mae": None}, False, "different: metrics of run differ by up to 0.0005"),
        ({"ndcg@5": 0.25, "rmse": 40.0, "mae": 1.0}, False, "different: metrics of run differ by up to inf"),
        ({"ndcg@5": math.nan, "rmse": 40.0}, False, "different: metrics of run differ by up to inf"),
    ],
)
def test_metrics_are_compared(repeated, is_equal, sentence):
    """The tolerance is 1e-5 for metrics up to 1, and relative for larger ones."""
    found = compare_metrics("run", {"ndcg@5": 0.25, "rmse": 40.0, "mae": math.nan}, repeated)
    assert (found.is_equal, found.sentence) == (is_equal, sentence)


def test_a_run_is_verified(command, planted_run, tmp_path):
    run = planted_run("model=ease")
    done = command("verify", str(run))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"metrics of {run} are the same" in done.stdout
    shutil.copytree(run, tmp_path / "changed")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["test"]["ndcg@10"] += 0.001
    metrics["environment"]["jax"] = "0.0.1"
    metrics["data"]["fingerprint"] = "0"
    (tmp_path / "changed" / "metrics.json").write_text(json.dumps(metrics))
    done = command("verify", str(tmp_path / "changed"))
    assert done.returncode == 1
    assert "test ndcg@10" in done.stdout
    assert "validation ndcg@10" not in done.stdout
    assert "differ by up to 0.001" in done.stdout
    assert "note: the data has changed since the run was trained" in done.stdout
    assert "note: the environment has changed: jax 0.0.1 →" in done.stdout


@pytest.mark.slow
def test_a_trial_is_verified_in_the_program_of_its_search(command, tmp_path):
    shutil.copytree(STUDY, tmp_path / "study")
    done = command("verify", "study", "trial=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "metrics of trial 1 of synthetic-matrixfactorization-a2dfe9" in done.stdout
    journal = tmp_path / "study" / "journal.log"
    text = journal.read_text()
    assert "data.n_users=40" in text
    journal.write_text(text.replace('"data.n_users=40"', '"data.n_users=40", "seed=5"'))  # the program is the same
    done = command("verify", "study", "trial=1")
    assert done.returncode == 1
    assert "different: metrics of trial 1" in done.stdout
    journal.write_text(text.replace('"data.n_users=40"', '"hydra.searchpath=[file:///elsewhere]"'))
    assert "has the override hydra.searchpath" in command("verify", "study", "trial=1").stderr
    journal.write_text(text.replace('"data.n_users=40"', '"data._target_=os.system"'))
    assert "has _target_: os.system, which conf/ does not name" in command("verify", "study", "trial=1").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "There is no file nowhere/metrics.json"),
        (["study", "trial=9"], "has no trial 9; it has 0 to 3"),
        (["study", "trial=-1"], "trial=-1: must be"),
        (["study", "trial=x"], "trial='x': must be"),
        (["no-study", "trial=1"], "no study called no-study"),
    ],
)
def test_reasons_why_a_run_cannot_be_verified(command, tmp_path, arguments, message):
    shutil.copytree(STUDY, tmp_path / "study")
    done = command("verify", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
