from types import SimpleNamespace

import pandas as pd
import pytest

from jaxrec.report.grid_report import Row, grid_report, runs_table
from tests.page import EVIL, Page, numbers

TABLE = pd.DataFrame(
    {
        "run": [0, 1, 2],
        "overrides": ["model=mf", f"x={EVIL}", "popularity"],
        "state": ["complete", "complete", "baseline"],
        "validation_ndcg@10": [0.2, 0.3, 0.1],
        "validation_mrr@5": [0.9, 0.9, 0.9],
        "test_ndcg@10": [0.25, 0.35, 0.15],
        "best_epoch": [3, 4, None],
        "train_s": [1.25, 2.5, None],
        "path": ["0/", "1/", None],
    }
)


def test_a_grid_shows_few_columns_best_validation_first():
    source = grid_report(EVIL, TABLE, "ndcg@10", EVIL)
    page = Page(source)
    assert "run overrides validation NDCG@10 test NDCG@10 best epoch training, s" in page.content
    assert f"1 x={EVIL} 0.3000 0.3500 4 2.5 0 model=mf 0.2000 0.2500 3 1.2 popularity 0.1000 0.1500" in page.content
    assert "0.9000" not in page.content
    assert "model=<wbr>mf" in source  # a line may break there
    assert [a["href"] for name, a in page.tags if name == "a"] == ["1/report.html", "0/report.html"]
    assert "<script>alert" not in source
    assert "<img" not in source


@pytest.mark.parametrize(("value", "states"), [(0.2, ["complete", "baseline"]), (0.1, ["complete"])])
def test_the_baseline_is_left_out_if_it_is_one_of_the_runs(value, states):
    metrics = {"validation": {"ndcg@10": value}, "test": {"ndcg@10": 0.3, "rmse": float("nan")}}
    metrics |= {"test_interval": {}, "best_epoch": 0, "time": {"train_s": 1.0}}
    popularity = {"validation": {"ndcg@10": 0.1}, "test": {"ndcg@10": 0.3, "rmse": float("nan")}}
    runs = runs_table([Row("model=popularity", SimpleNamespace(metrics=metrics))], popularity)
    assert runs.state.tolist() == states


def test_the_state_is_a_column_if_a_run_failed():
    failed = pd.DataFrame([{"run": 3, "overrides": "x=9", "state": "failed", "error": "out of memory"}])
    page = Page(grid_report("g", pd.concat([TABLE, failed], ignore_index=True), "ndcg@10", "films"))
    assert "run overrides state validation NDCG@10 test" in page.content
    assert "3 x=9 failed" in page.content


def test_runs_are_bars_and_the_baseline_is_gray():
    (chart,) = Page(grid_report("g", TABLE, "ndcg@10", "films")).charts
    assert numbers(chart, 0, "x") == [0.1, 0.2, 0.3]  # from the bottom
    colors = chart["data"][0]["marker"]["color"]
    assert colors[0] != colors[1] == colors[2]


def test_a_model_without_epochs_has_no_best_epoch():
    page = Page(grid_report("g", TABLE.assign(best_epoch=[0, 4, None]), "ndcg@10", "films"))
    assert "0 model=mf 0.2000 0.2500 1.2 popularity" in page.content


def test_runs_without_one_metric_stay_in_their_order():
    page = Page(grid_report("g", TABLE.drop(columns="validation_ndcg@10"), "ndcg@10", "films"))
    assert "in the order of the command" in page.content
    assert page.charts == []
