"""Finished runs compared: differences by hand, tests of scipy and statsmodels' definition of Holm, refusals."""

import pandas as pd
import pytest
from scipy import stats

from jaxrec import launch
from jaxrec.compare import compare, holm, verdicts
from jaxrec.errors import InputError
from tests.planted import PLANTED


@pytest.fixture(scope="module")
def runs(compose, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, settings in {
        "ease": ("model=ease",),
        "popularity": ("model=popularity",),
        "other": ("model=popularity", "split.seed=1"),
    }.items():
        launch.run(compose(*PLANTED, *settings), folder / name)
    return folder


def test_differences_are_paired_by_user(runs):
    metric, table = compare([str(runs / "popularity"), str(runs / "ease")], "recall@10")
    frames = {name: pd.read_parquet(runs / name / "per_user.parquet") for name in ("popularity", "ease")}
    joined = frames["popularity"].merge(frames["ease"], on="user_id")
    differences = (joined["recall@10_y"] - joined["recall@10_x"]).to_numpy(float)
    assert metric == "recall@10"
    assert table["value"].tolist() == pytest.approx([frames[n]["recall@10"].mean() for n in frames], abs=1e-6)
    assert table["difference"][1] == pytest.approx(differences.mean(), abs=1e-6)
    assert table["p"][1] == pytest.approx(stats.wilcoxon(differences).pvalue, rel=1e-6)
    assert verdicts(metric, table) == [
        f"{runs / 'ease'} beats {runs / 'popularity'} on recall@10 (p = {table.p[1]:.2g})"
    ]


def test_a_run_does_not_beat_itself_and_the_default_is_what_was_monitored(runs):
    metric, table = compare([str(runs / "ease"), str(runs / "ease")])
    assert metric == "ndcg@10"
    assert table["p"][1] == 1
    assert "no difference" in verdicts(metric, table)[0]


def test_holm_by_hand():
    # Sorted .01 .02 .03 .5: times 4, 3, 2, 1 and never below the one before.
    assert holm([0.5, 0.03, 0.01, 0.02]) == pytest.approx([0.5, 0.06, 0.04, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("names", "metric", "message"),
    [
        (["ease"], None, "compare needs two runs or more"),
        (["ease", "other"], None, "has split.seed=0, .*has split.seed=1: runs can be compared only on the same"),
        (["ease", "popularity"], "ndcg@7", "metric=ndcg@7 is not in .*; choose one of ndcg@5"),
        (["ease", "nothing"], None, "There is no file .*metrics.json"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, names, metric, message):
    with pytest.raises(InputError, match=message):
        compare([str(runs / name) for name in names], metric)


def test_runs_are_words_of_the_command(command, runs):
    done = command("compare", str(runs / "popularity"), str(runs / "ease"), "metric=hit_rate@5")
    assert done.returncode == 0, done.stderr
    assert "beats" in done.stdout
