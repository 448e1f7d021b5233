"""Runs with several seeds: replicas equal runs of single seeds; the summary aggregates them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import jaxrec
from jaxrec import launch, recommend
from jaxrec.compare import compare
from jaxrec.console import EpochProgress
from jaxrec.errors import InputError
from jaxrec.fitting.saved_slots import STATES
from jaxrec.pipeline.pipeline import Run
from jaxrec.statistics import estimate
from tests.page import Page, numbers
from tests.planted import PLANTED

pytestmark = pytest.mark.whole

SHORT = (*PLANTED, "trainer.epochs=2", "trainer.batch_size=512")


@pytest.fixture(scope="module")
def folder(compose, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    launch.run_seeds(compose(*SHORT, "seed=5"), 2, folder / "several")
    launch.run(compose(*SHORT, "seed=6"), folder / "alone")
    return folder


def read(directory, name="metrics.json"):
    return json.loads((directory / name).read_text())


def test_each_seed_is_the_run_of_that_seed(folder):
    assert sorted(path.name for path in (folder / "several").iterdir()) == [
        "report.html", "seed-5", "seed-6", "seeds.json",
    ]  # fmt: skip
    one, alone = folder / "several" / "seed-6", folder / "alone"
    assert {path.name for path in one.iterdir()} == {path.name for path in alone.iterdir()}
    for part in ("validation", "test"):
        assert read(one)[part] == pytest.approx(read(alone)[part], abs=1e-6)
    assert "seed: 6\n" in (one / "config.yaml").read_text()
    assert "seeds: null\n" in (one / "config.yaml").read_text()


def test_the_summary_aggregates_the_seeds(folder):
    directory = folder / "several"
    summary = read(directory, "seeds.json")
    metrics = {seed: read(directory / f"seed-{seed}") for seed in (5, 6)}
    assert (summary["seeds"], summary["failed"], summary["monitor"]) == ([5, 6], {}, "ndcg@10")
    validation = {seed: each["validation"]["ndcg@10"] for seed, each in metrics.items()}
    assert summary["best"] == max(validation, key=validation.get)
    values = [*validation.values()]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    expected = {"mean": np.mean(values), "sd": np.std(values, ddof=1), "low": low, "high": high}
    assert summary["validation"]["ndcg@10"] == pytest.approx(expected)
    coverage = [each["test"]["coverage@10"] for each in metrics.values()]
    assert summary["test"]["coverage@10"]["high"] == pytest.approx(
        stats.ttest_1samp(coverage, 0).confidence_interval(0.95)[1]
    )
    frames = [pd.read_parquet(directory / f"seed-{seed}" / "per_user.parquet") for seed in metrics]
    both = estimate(np.stack([frame["recall@10"].to_numpy(float) for frame in frames]))
    found = summary["test"]["recall@10"]
    assert [found["mean"], found["low"], found["high"]] == pytest.approx([both.value, *both.interval()], abs=1e-7)


def test_commands_load_the_seed_that_is_best_on_validation(folder):
    directory = folder / "several"
    best = directory / f"seed-{read(directory, 'seeds.json')['best']}"
    expected = recommend.load(best)
    users = expected.user_ids[:3]
    for model in (jaxrec.load(directory), recommend.load(directory), Run.open(directory).recommender):
        pd.testing.assert_frame_equal(model.recommend(users, k=3), expected.recommend(users, k=3))


def test_compare_takes_all_seeds(folder, planted_run):
    table = compare([str(folder / "several"), str(planted_run("model=popularity"))]).table
    assert table["seeds"].tolist() == [2, 1]
    assert table["sd"].notna().all()


def test_the_page_shows_means_and_links_every_seed(folder):
    page = Page((folder / "several" / "report.html").read_text())
    entry = read(folder / "several", "seeds.json")["test"]["ndcg@10"]
    assert "MatrixFactorization on" in page.content
    assert f"{entry['mean']:.4f} 95% interval {entry['low']:.4f} to {entry['high']:.4f}" in page.content
    links = [a["href"] for name, a in page.tags if name == "a"]
    assert links == [f"seed-{seed}/report.html" for seed in (5, 6)]
    (chart,) = page.charts
    tested = [read(folder / "several" / f"seed-{seed}")["test"]["ndcg@10"] for seed in (5, 6)]
    assert numbers(chart, 1, "y") == pytest.approx(tested)


@pytest.mark.slow
def test_a_directory_is_not_overwritten_without_overwrite(folder, compose, tmp_path):
    message = r"already holds a run with several seeds: set another hydra\.run\.dir"
    with pytest.raises(InputError, match=message):
        launch.run_seeds(compose(*SHORT), 2, folder / "several")
    with pytest.raises(InputError, match=message):
        launch.run(compose(*SHORT), folder / "several")
    launch.run(compose(*PLANTED, "model=popularity"), tmp_path)
    launch.run_seeds(compose(*SHORT, "trainer.epochs=1"), 2, tmp_path, overwrite=True)
    assert type(jaxrec.load(tmp_path).model).__name__ == "MatrixFactorization"


def test_a_seed_that_fails_is_named_and_the_others_are_kept(folder, compose, tmp_path, monkeypatch, capsys):
    from jaxrec import experiment

    finish = experiment.finish_each
    monkeypatch.setattr(experiment, "finish_each", lambda *args: ["diverged", *finish(*args)[1:]])
    results = launch.run_seeds(compose(*SHORT, "trainer.epochs=1"), 2, tmp_path)
    assert [*results] == [2]
    assert "failed: seed=1: diverged" in capsys.readouterr().out
    summary = read(tmp_path, "seeds.json")
    assert (summary["seeds"], summary["failed"], summary["test"]["ndcg@10"]["sd"]) == ([2], {"1": "diverged"}, None)
    monkeypatch.setattr(experiment, "finish_each", lambda *args: ["diverged"] * 2)
    with pytest.raises(InputError, match="diverged"):
        launch.run_seeds(compose(*SHORT, "trainer.epochs=1"), 2, tmp_path / "none")
    assert not [*(tmp_path / "none").iterdir()]


def test_a_killed_run_continues_to_the_same_numbers(folder, compose, tmp_path, monkeypatch, capsys):
    class Killed(BaseException):
        """Ends a run like SIGKILL: no handler catches it."""

    arguments = (*SHORT, "seed=5", "trainer.save_minutes=1e-9")
    display = EpochProgress.__call__

    def kill(self, epoch, rows):
        display(self, epoch, rows)
        if epoch == 2:
            raise Killed

    monkeypatch.setattr(EpochProgress, "__call__", kill)
    with pytest.raises(Killed):
        launch.run_seeds(compose(*arguments), 2, tmp_path)
    monkeypatch.setattr(EpochProgress, "__call__", display)
    launch.run_seeds(compose(*arguments), 2, tmp_path)
    printed = capsys.readouterr().out
    assert "continuing after epoch 1" in printed
    assert "MatrixFactorization, 2 seeds" in printed
    entry = read(tmp_path, "seeds.json")["test"]["ndcg@10"]
    assert f"{entry['mean']:.4f} ± {entry['sd']:.4f}" in printed
    assert f"{entry['low']:.4f} to {entry['high']:.4f}" in printed
    assert not (tmp_path / STATES).exists()
    for seed in (5, 6):
        one, other = (read(each / f"seed-{seed}") for each in (tmp_path, folder / "several"))
        assert {part: one[part] for part in ("validation", "test")} == {
            part: other[part] for part in ("validation", "test")
        }


def test_the_command_trains_seeds_of_one_run(command, monkeypatch):
    calls = []
    monkeypatch.setattr(launch, "run_seeds", lambda *arguments: calls.append(arguments))
    done = command("train", *SHORT, "seeds=2", "hydra.run.dir=run", "overwrite=true")
    assert done.returncode == 0, done.stderr
    ((tree, *others),) = calls
    assert tree["trainer"]["epochs"] == 2
    assert others == [2, Path("run").absolute(), True]


@pytest.mark.slow
def test_a_grid_has_means_over_seeds(command):
    done = command("train", "--multirun", *SHORT, "model=mf,popularity", "seeds=2", "hydra.sweep.dir=grid")
    assert done.returncode == 0, done.stderr
    runs, means = (pd.read_csv(f"grid/{name}.csv") for name in ("runs", "seeds"))
    assert runs["overrides"].tolist() == ["model=mf seed=1", "model=mf seed=2", "model=popularity", "popularity"]
    means = means.set_index("overrides")
    assert means["seeds"].to_dict() == {"model=mf": 2, "model=popularity": 1}
    assert means.loc["model=mf", "test_ndcg@10"] == pytest.approx(runs["test_ndcg@10"][:2].mean())
    assert means.loc["model=mf", "test_ndcg@10_sd"] == pytest.approx(runs["test_ndcg@10"][:2].std())
    row = means.loc["model=mf"]
    assert f"{row['test_ndcg@10']:.4f} ± {row['test_ndcg@10_sd']:.4f}" in done.stdout
    assert f"{row['test_ndcg@10_low']:.4f} to {row['test_ndcg@10_high']:.4f}" in done.stdout
    assert compare(["grid"]).table["seeds"].tolist() == [2, 1]
    assert "Means over seeds" in Page(Path("grid/report.html").read_text()).content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seeds=1"], "seeds=1: must be greater than or equal to 2"),
        pytest.param(["seeds=many"], "seeds='many': must be a valid integer", marks=pytest.mark.slow),
        (["model=ease", "seeds=3"], "seeds=3: EASE uses no random numbers, so every seed gives the same model"),
        (["--multirun", "seeds=2,3"], "seeds=2,3: use one number of seeds for all runs"),
        (["--multirun", "seeds=choice(2,3)"], "seeds=choice(2,3): use one number of seeds for all runs"),
        (["--multirun", "seed=1,2", "seeds=2"], "seed=1,2 and seeds=2 both set the seeds: use one of them"),
        (
            ["--multirun", "sweep=mf", "seeds=2"],
            "seeds=2 has no effect on a search: omit it, then train the best trial",
        ),
    ],
)
def test_errors_are_one_line_and_leave_no_files(command, arguments, message, tmp_path):
    done = command("train", *arguments, *PLANTED)
    assert done.returncode == 2
    assert message in done.stderr
    assert not list(tmp_path.rglob("*.json"))
