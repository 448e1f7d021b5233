"""Tables of metrics by list length."""

import pytest

from jaxrec.page.html import tag
from jaxrec.report.metric_lengths import metrics_at
from tests.page import Page

ROWS = {"ndcg@5": ["1"], "ndcg@10": ["2"], "coverage@5": ["3"], "coverage@10": ["4"], "auc": ["5"]}


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("ndcg@10", "metric value NDCG@10 2 Coverage@10 4 AUC 5 note At 5 metric value NDCG@5 1 Coverage@5 3"),
        ("auc", "metric value AUC 5 note At 5 metric value NDCG@5 1 Coverage@5 3 At 10 metric value NDCG@10 2"),
    ],
)
def test_one_length_is_shown_and_the_others_are_collapsed(metric, text):
    source = metrics_at(["metric", "value"], ROWS, metric, tag("p", "note"))
    assert Page(source).content.startswith(text)
    assert source.index("note") < source.index("<details>")
