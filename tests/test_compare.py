"""Comparison of finished runs: differences by hand, tests of scipy, grouping of seeds, page, errors."""

import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from jaxrec import rundir
from jaxrec.compare import compare, verdicts
from jaxrec.errors import InputError
from jaxrec.statistics import estimate
from tests.page import Page, numbers
from tests.planted import PLANTED

SHORT = ("trainer.epochs=2", "trainer.batch_size=512")
SHARES = {0.01: 1.0, 0.0001: 0.3}  # factor of the metrics of a run with this learning rate


@pytest.fixture(scope="module")
def runs(compose, planted_run, tmp_path_factory):
    """Two closed-form models, one also on another split, and a grid of two learning rates with three seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("ease", "popularity"):
        shutil.copytree(planted_run(f"model={name}"), folder / name)
    other = compose(*PLANTED, "model=popularity", "split.seed=1")
    made_run(planted_run("model=popularity"), folder / "other", other, 1.0, fingerprint="0")
    members = [(rate, seed) for rate in SHARES for seed in (1, 2, 3)]
    for number, (rate, seed) in enumerate(members):
        tree = compose(*PLANTED, *SHORT, f"optimizer.learning_rate={rate}", f"seed={seed}")
        made_run(planted_run(*SHORT), folder / "grid" / str(number), tree, SHARES[rate] + 0.01 * seed)
    overrides = [f"optimizer.learning_rate={rate} seed={seed}" for rate, seed in members]
    table = pd.DataFrame({"overrides": overrides, "state": "complete", "path": range(len(members))})
    table.to_csv(folder / "grid" / "runs.csv", index_label="run")
    return folder


def made_run(source, directory, tree, share, **data):
    """Copy a run with other settings and facts of its data, and multiply the metrics of every user by `share`."""
    shutil.copytree(source, directory)
    rundir.write_config(directory, tree)
    frame = pd.read_parquet(directory / "per_user.parquet")
    measured = frame.columns.drop("user_id")
    frame[measured] *= share
    frame.to_parquet(directory / "per_user.parquet", index=False)
    metrics = json.loads((directory / "metrics.json").read_text())
    metrics["test"] |= frame[measured].mean().to_dict()
    metrics["data"] |= data
    (directory / "metrics.json").write_text(json.dumps(metrics))


def per_user(directory, metric):
    return pd.read_parquet(directory / "per_user.parquet")[metric].to_numpy(float)


def test_differences_are_paired_by_user(runs):
    found = compare([str(runs / "popularity"), str(runs / "ease")], "recall@10")
    frames = {name: pd.read_parquet(runs / name / "per_user.parquet") for name in ("popularity", "ease")}
    joined = frames["popularity"].merge(frames["ease"], on="user_id")
    differences = (joined["recall@10_y"] - joined["recall@10_x"]).to_numpy(float)
    table = found.table
    assert found.metric == "recall@10"
    assert table["run"].tolist() == ["popularity", "ease"]
    assert table["value"].tolist() == pytest.approx([frames[n]["recall@10"].mean() for n in frames], abs=1e-6)
    assert table["difference"][1] == pytest.approx(differences.mean(), abs=1e-6)
    assert table["p"][1] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=1e-6)
    assert table["p_wilcoxon"][1] == pytest.approx(stats.wilcoxon(differences).pvalue, rel=1e-6)
    assert verdicts(found.metric, table) == [f"ease beats popularity in Recall@10 (p = {table.p[1]:.2g})"]


def test_rows_are_paired_in_whatever_order_their_files_have_them(runs, tmp_path):
    shutil.copytree(runs / "ease", tmp_path / "ease")
    file = tmp_path / "ease" / "per_user.parquet"
    pd.read_parquet(file).sample(frac=1.0, random_state=0).to_parquet(file, index=False)
    found, expected = (compare([str(runs / "popularity"), str(own / "ease")]).table for own in (tmp_path, runs))
    pd.testing.assert_frame_equal(found.drop(columns="run"), expected.drop(columns="run"))


def test_rows_count_by_user_and_fold_and_means_are_over_all_runs(compose, tmp_path):
    """Two settings on two folds of three users, two rows each."""
    tree = compose("data=files", "data.path=log.csv", "data.time_column=time", "split=rolling", "split.folds=2")
    rng, values = np.random.default_rng(0), {}
    for name, fold in itertools.product(("a", "b"), (0, 1)):
        own = tree | {"optimizer": tree["optimizer"] | {"learning_rate": {"a": 0.1, "b": 0.2}[name]}}
        directory = tmp_path / f"{name}{fold}"
        directory.mkdir()
        rundir.write_config(directory, own | {"split": tree["split"] | {"fold": fold}})
        values[name, fold] = rng.random(6)
        rows = {"user_id": np.repeat([7, 8, 9], 2), "item_id": np.arange(6), "ndcg@10": values[name, fold]}
        pd.DataFrame(rows).to_parquet(directory / "per_user.parquet", index=False)
        test = {"ndcg@10": values[name, fold].mean(), "recall@10": 0.25 + 0.5 * fold}
        (directory / "metrics.json").write_text(json.dumps({"test": test, "data": {"fingerprint": str(fold)}}))
    found = compare([str(tmp_path / name) for name in ("a0", "a1", "b0", "b1")], "ndcg@10")
    a, b = (np.concatenate([values[name, fold] for fold in (0, 1)])[None] for name in ("a", "b"))
    units, folds = np.tile(np.repeat([0, 1, 2], 2), 2), np.repeat([0, 1], 6)
    ends = found.table.loc[1, ["difference_low", "difference_high"]].tolist()
    assert ends == pytest.approx(estimate(b, a, units, folds).interval(), rel=1e-9)
    for other in ((None, folds), (units, None)):
        assert ends != pytest.approx(estimate(b, a, *other).interval(), rel=0.01)
    assert "Recall@10 0.5000 0.5000" in Page(found.page()).content


def test_a_run_does_not_beat_itself_and_the_default_is_what_was_monitored(runs):
    found = compare([str(runs / "ease"), str(runs / "ease")])
    assert found.metric == "ndcg@10"
    assert found.table["run"].tolist() == ["ease", "ease (2)"]
    assert found.table["p"][1] == 1
    assert verdicts("ndcg@10", found.table) == [
        "no difference between ease (2) and ease in NDCG@10 is demonstrated (p = 1)"
    ]


def test_runs_of_a_grid_that_differ_only_in_their_seed_are_one_setting(runs):
    table = compare([str(runs / "grid"), str(runs / "ease")], "ndcg@10").table
    assert table["seeds"].tolist() == [3, 3, 1]
    assert table["run"].tolist() == [
        "optimizer.learning_rate=0.01",
        "optimizer.learning_rate=0.0001",
        "ease",
    ]
    fast, slow = ([per_user(runs / "grid" / str(n), "ndcg@10") for n in numbers] for numbers in ((0, 1, 2), (3, 4, 5)))
    assert table["sd"][0] == pytest.approx(pd.Series([values.mean() for values in fast]).std(), rel=1e-5)
    assert table["sd"][2] == 0  # EASE uses no random numbers
    raw = estimate(pd.DataFrame(slow).to_numpy(), pd.DataFrame(fast).to_numpy()).p_value()
    assert table["p"][1] >= raw * (1 - 1e-9)  # Holm's correction for two comparisons
    assert "beats optimizer.learning_rate=0.0001" in " ".join(
        verdicts("ndcg@10", compare([str(runs / "ease"), str(runs / "grid")], "ndcg@10").table)
    )
    by_hand = [str(runs / "grid" / str(n)) for n in (3, 4, 0)]
    assert compare(by_hand, "ndcg@10").table["seeds"].tolist() == [2, 1]


def test_one_seed_beats_nothing(runs, command):
    done = command("compare", str(runs / "popularity"), str(runs / "grid" / "3"))
    assert done.returncode == 0, done.stderr
    assert "popularity is ahead of grid/3 in NDCG@10 among users (p = " in done.stdout
    assert "but with one seed of grid/3: differences between seeds are not included" in done.stdout
    assert "note: to include differences between seeds, train with seeds=5" in done.stdout
    assert "beats" not in done.stdout
    table = compare([str(runs / "grid" / "0"), str(runs / "grid" / "3")]).table
    table.loc[1, ["difference", "p"]] = 0.1, 0.01
    assert verdicts("ndcg@10", table)[0].endswith("but with one seed each: differences between seeds are not included")


def test_smaller_errors_are_better(runs):
    table = compare([str(runs / "popularity"), str(runs / "ease")]).table
    assert verdicts("rmse", table)[0].startswith("popularity beats ease in RMSE")


@pytest.mark.parametrize(
    ("names", "metric", "message"),
    [
        (["ease"], None, "compare needs runs of two or more settings"),
        (["grid/0", "grid/1"], None, "the 2 runs here differ only in their seed"),
        (["ease", "other"], None, "has split.seed=0, .*has split.seed=1: runs can be compared only on the same"),
        (["ease", "popularity"], "ndcg@7", "metric=ndcg@7 is not in .*; choose one of ndcg@5"),
        (["ease"], None, "compare needs runs of two or more settings: jaxrec compare RUN_DIR RUN_DIR$"),
        (["ease", "nothing"], None, "There is no file .*metrics.json"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, names, metric, message):
    with pytest.raises(InputError, match=message):
        compare([str(runs / name) for name in names], metric)


def test_runs_on_the_same_interactions_are_compared_whatever_their_features(runs, compose, planted_run, tmp_path):
    tree = compose(*PLANTED, "model=popularity")
    tree["data"] |= {"item_features": "items.csv", "path": "elsewhere.csv"}
    made_run(planted_run("model=popularity"), tmp_path / "features", tree, 1.0)
    assert len(compare([str(runs / "ease"), str(tmp_path / "features")]).settings) == 2


def test_runs_on_other_data_are_refused(runs, tmp_path):
    """The file of the data may have changed between two runs of the same settings of it."""
    shutil.copytree(runs / "popularity", tmp_path / "later")
    metrics = json.loads((tmp_path / "later" / "metrics.json").read_text())
    del metrics["data"]["fingerprint"]
    before = metrics["data"]["train"]
    metrics["data"]["train"] = before + 1
    (tmp_path / "later" / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(InputError, match=rf"later had other data than .*ease \(train: {before + 1} and {before}\)"):
        compare([str(runs / "ease"), str(tmp_path / "later")])


def test_runs_on_as_many_other_rows_are_refused_and_runs_without_a_fingerprint_are_not(runs, tmp_path):
    shutil.copytree(runs / "popularity", tmp_path / "later")
    metrics = json.loads((tmp_path / "later" / "metrics.json").read_text())
    metrics["data"]["fingerprint"] = "0"
    (tmp_path / "later" / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(InputError, match=r"later had other data than .*ease \(fingerprint: 0 and [0-9a-f]{16}\)"):
        compare([str(runs / "ease"), str(tmp_path / "later")])
    del metrics["data"]["fingerprint"]
    (tmp_path / "later" / "metrics.json").write_text(json.dumps(metrics))
    assert len(compare([str(runs / "ease"), str(tmp_path / "later")]).settings) == 2


def test_values_without_their_users_are_refused(runs, tmp_path):
    shutil.copytree(runs / "ease", tmp_path / "ease")
    file = tmp_path / "ease" / "per_user.parquet"
    pd.read_parquet(file).rename(columns={"user_id": "user"}).to_parquet(file, index=False)
    with pytest.raises(InputError, match=r"per_user\.parquet has no column user_id: train the run again"):
        compare([str(tmp_path / "ease")] * 2)


def test_broken_tables_are_refused(tmp_path):
    (tmp_path / "runs.csv").write_text("run\n1\n")
    with pytest.raises(InputError, match=r"runs\.csv is not the table of a grid"):
        compare([str(tmp_path)])
    (tmp_path / "seeds.json").write_text("[1]")
    with pytest.raises(InputError, match=r"seeds\.json has no keys best and seeds"):
        compare([str(tmp_path)])


def test_runs_are_words_of_the_command_which_writes_a_page_or_a_table(command, runs, tmp_path):
    words = (str(runs / "popularity"), str(runs / "ease"), "metric=hit_rate@5")
    done = command("compare", *words, "out=new/table.csv")
    assert done.returncode == 0, done.stderr
    assert "ease beats popularity in Hit rate@5" in done.stdout
    assert pd.read_csv(tmp_path / "new" / "table.csv")["run"].tolist() == ["popularity", "ease"]
    wrong = command("compare", *words, "out=page.htm")
    assert wrong.returncode == 2
    assert "out=page.htm: the suffix must be .html" in wrong.stderr
    assert not (tmp_path / "page.htm").exists()


def test_the_page_shows_verdicts_differences_and_what_differs(runs):
    found = compare([str(runs / "grid"), str(runs / "ease")], "ndcg@10")
    page = Page(found.page())
    assert all(line in page.content for line in verdicts("ndcg@10", found.table))
    assert "Reference optimizer.learning_rate=0.01" in page.content
    assert "model MatrixFactorization MatrixFactorization EASE" in page.content
    assert "optimizer.learning_rate 0.01 0.0001" in page.content
    forest, means = page.charts
    drawn = [numbers(forest, place, "x")[0] for place in range(2)]
    assert drawn[::-1] == pytest.approx(found.table["difference"][1:].tolist())  # the first setting is on top
    assert numbers(means, 1, "x")[::-1] == pytest.approx(found.table["value"].tolist())
    assert len(numbers(means, 0, "x")) == 7  # every seed
    assert "differences between its seeds are not included" not in page.content
    single = Page(compare([str(runs / "grid" / "0"), str(runs / "ease")]).page())
    assert "One seed of grid/0: differences between its seeds are not included" in single.content
