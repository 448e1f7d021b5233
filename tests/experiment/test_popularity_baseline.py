"""The popularity baseline of runs and searches."""

import pytest

from jaxrec import experiment, settings
from tests.planted import PLANTED

SMALL = (*PLANTED, "eval.metrics=[ndcg,coverage]", "eval.k=[3,5]")


@pytest.mark.parametrize("refit", [False, True])
def test_a_popularity_model_has_the_metrics_of_the_baseline(compose, refit):
    """The model is ranked by its scores, the baseline by `PopularityRanker`; both know the same interactions."""
    more = ("eval.test_metrics=[serendipity]", "eval.monitor=ndcg@5", f"refit={refit}")
    tree = compose("model=popularity", *SMALL, *more)
    split, _ = experiment.prepare(tree)
    ((_, shared, population),) = settings.populations([tree])
    (result,) = experiment.finish(shared, split, experiment.select(shared, split.selection, population))
    assert result.metrics["popularity"] == result.metrics["test"]
    assert result.metrics["test"]["ndcg@5"] > 0


@pytest.mark.parametrize(
    "evaluation",
    [
        ("eval.monitor=coverage@3",),
        ("eval=candidates", "eval.metrics=[ndcg,mrr]", "eval.monitor=sampled_mrr@3", "split=leave_one_out"),
    ],
    ids=["full", "candidates"],
)
def test_the_monitor_alone_has_the_value_that_it_has_among_all_metrics(compose, evaluation):
    tree = compose("model=popularity", *SMALL, *evaluation)
    selection = experiment.prepare(tree)[0].selection
    every = experiment.popularity_on_validation(tree, selection)
    alone = experiment.popularity_on_validation(tree, selection, only_monitor=True)
    monitor = tree["eval"]["monitor"]
    assert alone[monitor] == every[monitor] > 0
    assert len(alone) < len(every)
