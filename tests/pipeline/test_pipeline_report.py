"""The page of a pipeline, on small stages and lists."""

import pandas as pd
import pytest

from jaxrec.pipeline.report import Example, Tradeoff, report
from tests.page import EVIL, Page

TREE = {"run": "outputs/runs/x", "k": 10, "rerank": {"mmr": {}}}
STAGES = pd.DataFrame(
    {
        "stage": ["first stage", "+ re-ranking"],
        "ndcg@10": [0.25, 0.2],
        "diversity@10": [0.5, 0.75],
        "gini@10": [0.9, 0.8],
        "recall@10": [0.1, 0.1],
        "difference": [0.0, -0.05],
        "difference low": [0.0, -0.06],
        "difference high": [0.0, -0.04],
    }
)
KEYS = ("ndcg", "diversity", "coverage", "novelty", "popularity_bias", "calibration_error", "recall", "gini")
CURVE = pd.DataFrame({"mmr.strength": [None, 0.0, 1.0], **{f"{key}@10": [0.3, 0.3, 0.2] for key in KEYS}})


def made(**changes):
    values = {"curve": CURVE, "knob": "mmr.strength", "metric": "diversity@10", "picked": 0.0, "examples": []}
    values |= changes
    examples = values.pop("examples")
    return report("MF on films", TREE, STAGES, {"candidate recall": 0.5}, Tradeoff(**values), examples)


def test_metrics_have_arrows_and_a_difference():
    source = made()
    shown_text = Page(source).content.replace("\u00a0", " ")
    assert "metric first stage + re-ranking difference" in shown_text
    assert "NDCG@10 \u2191 0.2500 0.2000 -0.0500" in shown_text
    assert "Diversity@10 \u2191 0.5000 0.7500 +0.2500" in shown_text
    assert "Gini@10 \u2193 0.9000 0.8000 -0.1000" in shown_text
    assert "Recall@10 \u2191 0.1000 0.1000 0.0000" in shown_text
    assert "candidate recall 50.0% Candidate recall: share of the relevant test items" in shown_text
    assert '<td class="number bad">-0.0500' in source
    assert '<td class="number good">+0.2500' in source
    assert '<td class="number good">-0.1000' in source  # less inequality is better


def test_four_curves_with_the_metric_of_the_step_first():
    titles = [chart["layout"]["xaxis"]["title"]["text"] for chart in Page(made(metric="calibration_error@10")).charts]
    assert titles == ["Calibration error@10 \u2193", "Diversity@10 \u2191", "Coverage@10 \u2191", "Novelty@10 \u2191"]


def test_ndcg_is_drawn_over_the_value():
    first, *others = Page(made(metric="ndcg@10")).charts
    assert first["layout"]["xaxis"]["title"]["text"] == "mmr.strength"
    assert len(others) == 3


def test_the_last_value_is_labeled_inside_the_axes():
    charts = Page(made(metric="ndcg@10")).charts
    assert charts[0]["layout"]["xaxis"]["range"] == pytest.approx([-0.1, 1.1])
    assert charts[1]["layout"]["xaxis"]["range"] == pytest.approx([0.19, 0.31])
    assert [chart["data"][2]["text"] for chart in charts[:2]] == [["\u00a0\u00a01"], ["1\u00a0\u00a0"]]


def test_lists_are_shown_beside_those_before_reranking():
    example = Example("u1", 7, [("A", True), ("B", False), (EVIL, True)], [("B", False), ("C", True), ("A", True)])
    source = made(examples=[example])
    shown_text = Page(source).content
    assert "User u1 7 interactions in the history." in shown_text
    assert "after re-ranking before 1 B 2 2 C hit new 3 A hit 1 dropped from the first list" in shown_text
    assert f"3 {EVIL} hit" in shown_text
    assert "<script>alert" not in source
    assert "<img" not in source


@pytest.mark.parametrize("curve", [None, CURVE])
def test_without_a_second_stage_there_is_no_difference(curve):
    tradeoff = None if curve is None else Tradeoff("mmr.strength", "diversity@10", curve, None)
    source = report("t", TREE, STAGES[:1], {}, tradeoff, [])
    assert "Lists before and after" not in source
    assert ">difference<" not in source
