"""The record of a member."""

from jaxrec.fitting.member import metrics_at


def test_metrics_are_those_of_the_epoch_without_its_loss_and_seconds():
    values = {1: 0.2, 2: 0.4, 3: 0.1}
    history = [{"epoch": e, "loss": 1.0 / e, "seconds": 0.5, "ndcg@10": value} for e, value in values.items()]
    assert metrics_at(history, 2) == {"ndcg@10": 0.4}
    assert metrics_at(history, 3) == {"ndcg@10": 0.1}
    assert metrics_at(history, 0) == {}
