"""Whole commands: runs, grids and searches, their files, and files after an interruption."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import yaml
from omegaconf import OmegaConf

from jaxrec import experiment, launch, recommend, settings
from jaxrec.command_line import override
from jaxrec.errors import InputError
from jaxrec.pipeline.pipeline import Run
from tests.paths import ROOT
from tests.planted import PLANTED

SHORT = (*PLANTED, "trainer.epochs=2", "trainer.batch_size=512")
SPACE = {
    "optimizer.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
    "model.embedding_dim": {"choices": [4, 8]},
}


@contextmanager
def training(*arguments: str, cwd) -> Iterator[subprocess.Popen]:
    """Run scripts/train.py in its own process, with output in `log`; killed if the test ends first."""
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *arguments]
    with (cwd / "log").open("w") as log, subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log) as process:
        yield process
        process.kill()


@pytest.fixture
def run_dir(planted_run):
    return planted_run("trainer.epochs=2", "trainer.batch_size=512")


def test_a_run_directory_has_the_documented_files(run_dir):
    names = {path.name for path in run_dir.iterdir()}
    assert names == {"config.yaml", "metrics.json", "per_user.parquet", "history.csv", "model", "report.html"}
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert {"validation", "test", "popularity", "data", "time", "environment"} <= metrics.keys()
    assert {"load_s", "compile_s", "train_s", "evaluate_s"} <= metrics["time"].keys()
    assert {"users", "items", "interactions"} <= metrics["data"].keys()
    per_user = pd.read_parquet(run_dir / "per_user.parquet")
    assert per_user["ndcg@10"].mean() == pytest.approx(metrics["test"]["ndcg@10"], abs=1e-6)
    history = pd.read_csv(run_dir / "history.csv")
    assert history.columns[:3].tolist() == ["epoch", "loss", "seconds"]
    assert history["ndcg@10"].max() == pytest.approx(metrics["validation"]["ndcg@10"])


@pytest.mark.slow
def test_training_again_from_config_yaml_gives_the_same_numbers(run_dir, tmp_path):
    arguments = ("--config-path", str(run_dir), "--config-name", "config", f"hydra.run.dir={tmp_path}")
    with training(*arguments, cwd=tmp_path) as again:
        assert again.wait(300) == 0, (tmp_path / "log").read_text()
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in (run_dir, tmp_path))
    assert one["test"] == two["test"]
    assert one["validation"] == two["validation"]


def test_a_value_with_a_dollar_sign_in_config_yaml_is_not_interpolated(compose, tmp_path):
    path = tmp_path / "${name} \\${x}.csv"
    pd.DataFrame({"user_id": [0, 0, 0, 1, 1, 1], "item_id": [0, 1, 2, 0, 1, 2]}).to_csv(path, index=False)
    tree = compose(
        "model=popularity", "split=leave_one_out", "data=files", override("data.path", str(path)), "eval.k=[1]"
    )
    launch.run({**tree, "eval": {**tree["eval"], "monitor": "ndcg@1"}}, tmp_path / "run")
    again = OmegaConf.to_container(OmegaConf.load(tmp_path / "run" / "config.yaml").data, resolve=True)
    assert again["path"] == tree["data"]["path"] == str(path)
    assert Run.open(tmp_path / "run").tree["data"]["path"] == str(path)


def test_loaded_runs_use_original_ids(run_dir):
    model = recommend.load(run_dir)
    with pytest.raises(InputError, match="user 'nobody' is not in this run's data"):
        model.recommend(["nobody"])
    with pytest.raises(InputError, match="k=1000"):
        model.recommend(model.user_ids[:1], k=1000)
    everything = model.recommend(model.user_ids[:1], k=len(model.item_ids), exclude_seen=False)
    assert sorted(everything.item_id) == sorted(model.item_ids)
    unseen = model.recommend(model.user_ids[:1], k=len(model.item_ids))
    assert 0 < len(unseen) < len(everything)


@pytest.mark.slow
def test_a_grid_trains_every_combination_once(compose, tmp_path):
    chosen = [["model=popularity"], ["model=mf", "seed=1"], ["model=mf", "seed=2"]]
    trees = [compose(*PLANTED, *(("trainer.epochs=2",) if "model=mf" in c else ()), *c) for c in chosen]
    results = launch.grid(list(zip(trees, chosen, strict=True)), tmp_path)
    assert len(results) == 3
    assert results[1].metrics["environment"]["placement"].startswith("2 members on")
    table = pd.read_csv(tmp_path / "runs.csv")
    assert table.run.tolist() == [0, 1, 2, 3]  # the last row is that of popularity
    columns = [f"{part}_ndcg@10{end}" for part, end in [("validation", ""), ("test", ""), ("test", "_low")]]
    for number in range(3):
        metrics = json.loads((tmp_path / table.path[number] / "metrics.json").read_text())
        expected = [
            metrics["validation"]["ndcg@10"],
            metrics["test"]["ndcg@10"],
            metrics["test_interval"]["ndcg@10"][0],
        ]
        assert table[columns].iloc[number].tolist() == pytest.approx(expected)
    # The baseline row equals the run of model=popularity, on validation and on test.
    assert table[columns[:2]].iloc[3].tolist() == pytest.approx(table[columns[:2]].iloc[0].tolist())
    page = (tmp_path / "report.html").read_text()
    assert all(f'href="{number}/report.html"' in page for number in range(3))
    with pytest.raises(InputError, match=r"already holds a grid: set another hydra\.sweep\.dir"):
        launch.grid(list(zip(trees, chosen, strict=True)), tmp_path)
    with pytest.raises(InputError, match=r"already holds a run: set another hydra\.run\.dir"):
        launch.run(trees[0], tmp_path / "0")
    launch.run(trees[0], tmp_path / "0", overwrite=True)


@pytest.mark.whole
def test_a_grid_keeps_successful_runs_and_names_failed_ones(compose, tmp_path, capsys):
    chosen = [["optimizer.learning_rate=0.01"], ["optimizer.learning_rate=1e30"]]
    trees = [compose(*SHORT, *c) for c in chosen]
    good, bad = launch.grid(list(zip(trees, chosen, strict=True)), tmp_path / "both")
    assert good is not None
    assert bad is None
    table = pd.read_csv(tmp_path / "both" / "runs.csv")
    assert table.state.tolist() == ["complete", "failed", "baseline"]
    assert "diverged" in table.error[1]
    assert "failed: optimizer.learning_rate=1e30: training diverged" in capsys.readouterr().out
    assert [path.parent.name for path in tmp_path.glob("both/*/metrics.json")] == ["0"]
    with pytest.raises(InputError, match=r"1e30: training diverged: decrease optimizer\.learning_rate"):
        launch.grid([(trees[1], chosen[1])], tmp_path / "none")


@pytest.mark.slow
def test_members_left_after_a_failure_train_as_alone(compose, tmp_path):
    chosen = [["optimizer.learning_rate=0.01"], ["optimizer.learning_rate=1e30"]]
    trees = [compose(*SHORT, *c) for c in chosen]
    good, _ = launch.grid(list(zip(trees, chosen, strict=True)), tmp_path / "both")
    alone = launch.run(trees[0], tmp_path / "alone")
    assert alone.metrics["test"] == pytest.approx(good.metrics["test"], abs=1e-6)


def test_a_grid_checks_every_input_before_the_first_run(compose, tmp_path):
    trees = [compose(*SHORT), compose("data=files", f"data.path={tmp_path / 'absent.csv'}")]
    with pytest.raises(InputError, match=r"absent\.csv"):
        launch.grid([(tree, [str(i)]) for i, tree in enumerate(trees)], tmp_path / "grid")
    assert not (tmp_path / "grid").exists()


def test_a_metric_of_one_class_is_undefined_not_diverged(compose, tmp_path):
    for name, values in {
        "train": [1, 5, 5, 1, 5, 1],
        "validation": [5, 5, 5, 5, 5, 5],
        "test": [1, 5, 1, 5, 1, 5],
    }.items():
        first = {"train": 0, "validation": 2, "test": 4}[name]
        frame = {"user_id": [0, 0, 1, 1, 2, 2], "item_id": [(first + k) % 6 for k in (0, 1, 2, 3, 4, 5)], "v": values}
        pd.DataFrame(frame).to_csv(tmp_path / f"{name}.csv", index=False)
    files = [f"data.{name}={tmp_path / name}.csv" for name in ("train", "validation", "test")]
    tree = compose("split=given", *files, "data.value_column=v", "loss=click", "trainer.epochs=1", "eval.k=[2]")
    with pytest.raises(InputError, match="validation auc is undefined: no held-out row has label 0"):
        launch.run(tree, tmp_path / "run")


@pytest.mark.slow
def test_a_metric_that_is_not_defined_on_test_is_shown_with_its_reason(compose, tmp_path, capsys):
    parts = {"train": [1, 5, 5, 1, 5, 1], "validation": [1, 5, 1, 5, 1, 5], "test": [5] * 6}
    for place, (name, values) in enumerate(parts.items()):
        frame = {"user_id": [0, 0, 1, 1, 2, 2], "item_id": [(2 * place + k) % 6 for k in range(6)], "v": values}
        pd.DataFrame(frame).to_csv(tmp_path / f"{name}.csv", index=False)
    files = [f"data.{name}={tmp_path / name}.csv" for name in parts]
    tree = compose("split=given", *files, "data.value_column=v", "loss=click", "trainer.epochs=1", "eval.k=[2]")
    launch.run(tree, tmp_path / "run")
    reason = "test auc is undefined: no held-out row has label 0"
    assert f"note: {reason}" in capsys.readouterr().out
    assert "AUC is undefined: no held-out row has label 0" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.whole
def test_a_search_uses_validation_and_tests_only_the_winner(compose, tmp_path, monkeypatch, capsys):
    reads = []
    finish = experiment.finish
    monkeypatch.setattr(experiment, "finish", lambda *a, **k: (reads.append(1), finish(*a, **k))[1])
    tree = compose(*SHORT, "sweep.n_trials=6", "sweep.population=4")
    result = launch.sweep(tree, SPACE, lambda more: compose(*SHORT, *more), ["data=synthetic"], tmp_path)
    assert len(reads) == 1
    shown = capsys.readouterr().out
    assert "6 trials, 4 at a time" in shown
    assert shown.count("compiling ...") == 1
    assert [int(number) for number in re.findall(r"  trial (\d): 0\.\d+", shown)] == list(range(6))
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert {"journal.log", "trials.csv", "best.yaml", "report.html"} <= names
    assert not [path for path in tmp_path.glob("*/metrics.json") if path.parent.name != "best"]
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert trials.state.tolist() == ["complete"] * 6
    assert result.metrics["validation"]["ndcg@10"] == trials.value.max()  # its parameters are kept
    overrides = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert {text.split("=")[0] for text in overrides} == set(SPACE)
    with pytest.raises(InputError, match="already holds a search"):
        launch.grid([(tree, [])], tmp_path)


@pytest.mark.slow
def test_null_is_a_choice_beside_a_group_too(compose, tmp_path):
    short = (*PLANTED, "model=popularity", "sweep.sampler=grid", "sweep.population=2")
    space = {"model": {"choices": ["popularity"]}, "model.window_days": {"choices": [None, 10.0]}}
    launch.sweep(compose(*short), space, lambda more: compose(*short, *more), [], tmp_path)
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert trials.state.tolist() == ["complete"] * 2
    (best,) = [text for text in yaml.safe_load((tmp_path / "best.yaml").read_text()) if "window_days" in text]
    assert best in ("model.window_days=null", "model.window_days=10.0")
    assert compose(*short, best)["model"]["window_days"] in (None, 10.0)
    # The directory belongs to that study: another is refused, and the first is not changed.
    page = (tmp_path / "report.html").read_bytes()
    other = compose(*short, "sweep.study_name=other")
    with pytest.raises(InputError, match=r"already holds the study synthetic.*: set another hydra\.sweep\.dir"):
        launch.sweep(other, space, lambda more: other, [], tmp_path)
    assert (tmp_path / "report.html").read_bytes() == page


def test_a_space_that_does_not_fit_all_models_is_refused_before_training(compose, tmp_path):
    space = {"model": {"choices": ["mf", "ease"]}, "trainer.epochs": {"choices": [1, 2]}}
    with pytest.raises(Exception, match=r"trainer\.epochs"):
        launch.sweep(compose(*PLANTED), space, lambda more: compose(*PLANTED, *more), [], tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_finished_search_only_reads_its_winner_again(compose, tmp_path):
    tree = compose(*SHORT, "sweep.n_trials=2", "sweep.population=2")
    one = launch.sweep(tree, SPACE, lambda more: tree, [], tmp_path)
    two = launch.sweep(tree, SPACE, lambda more: tree, [], tmp_path)
    assert one.metrics["test"] == two.metrics["test"]
    assert len(pd.read_csv(tmp_path / "trials.csv")) == 2


@pytest.mark.slow
def test_refit_trains_on_validation_too(compose, tmp_path):
    tree = compose(*SHORT)
    alone = launch.run(tree, tmp_path / "a")
    refitted = launch.run(settings.put(tree, {"refit": True}), tmp_path / "b")
    assert refitted.metrics["validation"] == alone.metrics["validation"]
    assert refitted.metrics["refit"]
    assert refitted.metrics["test"] != alone.metrics["test"]


def test_models_of_user_ids_are_refused_if_all_users_are_new(compose, tmp_path):
    message = "all evaluated users are new.* GMF knows users only by their id: .*model=ease"
    for split in (["split=new_users"], ["split=sessions", "split.gap_minutes=null", "split.validation_days=0"]):
        with pytest.raises(InputError, match=message):
            launch.run(compose(*SHORT, *split, "model=gmf"), tmp_path)
    with pytest.raises(InputError, match=r"DLRM knows users only by their id: choose model\.ids=false, which"):
        launch.run(compose(*PLANTED, "split=new_users", "model=dlrm"), tmp_path)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.slow
def test_new_users_are_ranked_by_history_and_groups_are_reported(compose, tmp_path, capsys):
    launch.run(compose(*PLANTED, "split=new_users", "model=ease", "refit=true"), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["test"]["ndcg@10"] > 1.25 * metrics["popularity"]["ndcg@10"]
    assert metrics["data"]["test_users_not_in_train"] == metrics["data"]["users_with_test"] == 30
    assert metrics["test_groups"]["items"]["warm"]["ndcg@10"] == pytest.approx(metrics["test"]["ndcg@10"])
    assert "all 30 test users are new (represented by their history only)" in capsys.readouterr().out.replace("\n", " ")
    assert metrics["data"]["reading"] == {}


@pytest.mark.slow
def test_every_metric_of_a_sampled_run_is_labeled(compose, tmp_path):
    launch.run(compose(*SHORT, "eval=candidates", "eval.n=9", "eval.k=[5]", "eval.monitor=sampled_ndcg@5"), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    for part in ("validation", "test", "test_interval", "popularity"):
        assert metrics[part]
        assert all(key.startswith("sampled_") for key in metrics[part])
    keys = {key for groups in metrics["test_groups"].values() for found in groups.values() for key in found}
    measured = {*pd.read_parquet(tmp_path / "per_user.parquet"), *pd.read_csv(tmp_path / "history.csv"), *keys}
    assert {key for key in measured if "@" in key and not key.startswith("sampled_")} == set()
    assert "SAMPLED" in (tmp_path / "report.html").read_text()


def test_patience_without_validation_data_prints_a_note(compose, tmp_path, monkeypatch, capsys):
    def stop(*given):
        raise InputError("stopped before training")

    monkeypatch.setattr(experiment, "select", stop)
    tree = compose(*SHORT, "trainer.patience=7", "split.validation_fraction=0")
    for changes, is_said in (
        ({}, True),
        ({"trainer.patience": None}, False),
        ({"split.validation_fraction": 0.1}, False),
    ):
        with pytest.raises(InputError, match="stopped before training"):
            launch.run(settings.put(tree, changes), tmp_path / "run")
        printed = " ".join(capsys.readouterr().out.split())
        note = "without validation data trainer.patience=7 has no effect: all 2 epochs are trained"
        assert (note in printed) == is_said


def test_a_folder_that_cannot_be_written_is_an_error_before_any_work(compose, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match=f"cannot write to {blocked}"):
        launch.run(compose(*SHORT), blocked)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_terminated_keeps_its_results(tmp_path, sent):
    arguments = (*PLANTED, "trainer.epochs=100000", "trainer.patience=null", "hydra.run.dir=run")
    with training(*arguments, cwd=tmp_path) as process:
        while "epoch" not in (tmp_path / "log").read_text():  # the first line about training, after some seconds
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        process.send_signal(sent)
        assert process.wait(60) == 130
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["interrupted"]
    assert metrics["best_epoch"] >= 1


@pytest.mark.slow
def test_a_killed_search_continues(tmp_path):
    arguments = ("--multirun", *SHORT, "sweep=mf", "sweep.n_trials=6", "sweep.population=2", "hydra.sweep.dir=s")
    with training(*arguments, cwd=tmp_path) as process:
        while not (tmp_path / "s" / "trials.csv").exists():
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        process.kill()
    with training(*arguments, cwd=tmp_path) as again:
        assert again.wait(300) == 0, (tmp_path / "log").read_text()
    trials = pd.read_csv(tmp_path / "s" / "trials.csv")
    assert (trials.state == "complete").sum() == 6
    assert np.isfinite(trials.value[trials.state == "complete"]).all()


@pytest.mark.slow
def test_the_error_of_a_diverged_run_says_what_to_do(compose, tmp_path):
    tree = settings.put(compose(*SHORT, "optimizer=sgd"), {"optimizer.learning_rate": 1e30})
    with pytest.raises(InputError, match=r"training diverged: decrease optimizer\.learning_rate"):
        launch.run(tree, tmp_path)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.slow
def test_a_trial_that_diverges_fails_alone(compose, tmp_path):
    tree = compose(*SHORT, "optimizer=sgd", "sweep.sampler=grid", "sweep.population=3")
    space = {"optimizer.learning_rate": {"choices": [0.05, 1e30, 0.1]}}
    launch.sweep(tree, space, lambda more: tree, [], tmp_path)
    trials = pd.read_csv(tmp_path / "trials.csv").set_index("optimizer.learning_rate")
    assert set(trials.state[[0.05, 0.1]]) == {"complete"}
    assert set(trials.state[[1e30]]) == {"failed"}
    assert "diverged" in trials.error[1e30].iloc[0]


@pytest.mark.slow
def test_a_search_for_the_smallest_error(compose, tmp_path):
    """Ratings are sums of user and item effects and noise: the best trial has the smallest rmse, near the noise."""
    rng = np.random.default_rng(0)
    user, item = np.divmod(rng.permutation(60 * 40)[:1500], 40)
    rating = 3 + rng.normal(0, 0.5, 60)[user] + rng.normal(0, 0.5, 40)[item] + rng.normal(0, 0.1, 1500)
    path = tmp_path / "ratings.parquet"
    pd.DataFrame({"user_id": user, "item_id": item, "rating": rating}).to_parquet(path)
    short = [f"data.path={path}", "data=files", "data.value_column=rating", "loss=mse", "model.embedding_dim=4"]
    short += ["trainer.epochs=8", "trainer.batch_size=128", "eval.k=[5]", "sweep.sampler=grid", "sweep.population=3"]
    space = {
        "optimizer.learning_rate": {"choices": [0.0001, 0.02]},
        "model.regularization": {"choices": [0.01]},
    }
    result = launch.sweep(compose(*short), space, lambda more: compose(*short, *more), [], tmp_path / "sweep")
    trials = pd.read_csv(tmp_path / "sweep" / "trials.csv")
    assert result.metrics["validation"]["rmse"] == pytest.approx(trials.value.min(), abs=1e-3)
    assert trials.value.max() > 0.5 > 0.3 > trials.value.min()
    assert result.metrics["test"]["rmse"] < 0.3
    assert "rmse" not in result.metrics["popularity"]
