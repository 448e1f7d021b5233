"""Page of a run with several seeds."""

from jaxrec.report.seeds import seeds_report
from tests.page import Page
from tests.report.synthetic_result import TREE, result


def test_metrics_of_the_monitored_length_come_first_and_the_others_are_collapsed():
    entry = {"mean": 0.5, "sd": 0.01, "low": 0.4, "high": 0.6}
    keys = ("ndcg@5", "recall@5", "ndcg@10", "coverage@10", "auc")
    summary = {"validation": {"ndcg@10": entry}, "test": dict.fromkeys(keys, entry)}
    source = seeds_report("three", TREE, {1: result(), 2: result()}, summary, 2)
    page = Page(source)
    assert page.charts[0]["data"][-1]["marker"]["symbol"] == ["circle", "star"]  # seed 2 is the best
    text = page.content
    first, further = (
        text.index("Metrics metric validation sd test sd popularity NDCG@10 0.5000"),
        text.index("At 5"),
    )
    assert first < text.index("Coverage@10 0.5000") < text.index("AUC 0.5000") < further
    assert text[further:].startswith("At 5 metric validation sd test sd popularity NDCG@5 0.5000")
    assert source.index("<details>") < source.index("NDCG@5<")
